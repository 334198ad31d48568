// SPDX-License-Identifier: Apache-2.0
#include "serving/profile.h"

#include "core/error.h"
#include "core/nearest_name.h"
#include "serving/engine_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace indexcache {
namespace {

// Leading numbers: {0, 5, 13} of "0.5.13.post1"; empty if there are none.
std::vector<int> version_numbers(std::string_view text) {
  std::vector<int> numbers;
  if (text.starts_with('v')) text.remove_prefix(1);
  while (!text.empty()) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) break;
    numbers.push_back(number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.starts_with('.')) break;
    text.remove_prefix(1);
  }
  return numbers;
}

// Whether `version` is later than `read`, compared in as many numbers as `read` has.
bool beyond(const std::vector<int>& version, const std::vector<int>& read) {
  const std::vector<int> part(version.begin(),
                              version.begin() + std::min(version.size(), read.size()));
  return part > read;
}

}  // namespace

std::span<const EngineProfile> engine_profiles() {
  static const std::vector<EngineProfile> profiles = engine_table();
  return profiles;
}

std::vector<const EngineProfile*> newest_profiles() {
  std::vector<const EngineProfile*> newest;
  for (const EngineProfile& profile : engine_profiles()) {
    if (newest.empty() || newest.back()->name != profile.name) newest.push_back(&profile);
    newest.back() = &profile;
  }
  return newest;
}

ModelCode model_code(const Json& config) {
  struct Model {
    const char *type, *architecture;
    ModelCode code;
  };
  constexpr Model kModels[] = {{"axk2", "AXK2ForCausalLM", ModelCode::axk2},
                               {"hy_v4", "HYV4ForCausalLM", ModelCode::hy_v4},
                               {"deepseek_v4", "DeepseekV4ForCausalLM", ModelCode::deepseek_v4}};
  const auto type = config.find("model_type");
  const auto architectures = config.find("architectures");
  const bool typed = type != config.end() && type->is_string();
  const bool named =
      architectures != config.end() && architectures->is_array() && !architectures->empty();
  for (const Model& model : kModels) {
    if (typed ? *type == model.type : named && architectures->front() == model.architecture) {
      return model.code;
    }
  }
  return ModelCode::dsa;
}

// Branches that share disagree about which layers the letters of a pattern are: docs/engines.md.
constexpr const char* kCompressed =
    "none of its released versions that were read shares index sets in DeepSeek-V4";

EngineProfile rules_for(const EngineProfile& profile, ModelCode code) {
  EngineProfile row = profile;
  if (code == ModelCode::dsa || !row.unsupported.empty()) return row;
  const auto rules = std::ranges::find(profile.models, code, &ModelRules::code);
  if (rules != profile.models.end()) {
    rules->apply(row);
  } else {
    row.unsupported =
        code == ModelCode::axk2    ? "no version that was read shares index sets in A.X-K2"
        : code == ModelCode::hy_v4 ? "no version that was read shares index sets in Hy4"
                                   : kCompressed;
  }
  return row;
}

std::vector<std::string> engine_names() {
  std::vector<std::string> names;
  for (const EngineProfile* profile : newest_profiles()) names.emplace_back(profile->name);
  return names;
}

std::string title_of(const EngineProfile& profile) {
  return profile.since.empty() ? std::string(profile.name)
                               : fmt::format("{} since {}", profile.name, profile.since);
}

ChosenProfile choose_profile(const std::string& engine, const std::string& version) {
  const EngineProfile* oldest = nullptr;
  const EngineProfile* newest = nullptr;
  const EngineProfile* chosen = nullptr;
  const std::vector<int> wanted = version_numbers(version);
  for (const EngineProfile& profile : engine_profiles()) {
    if (profile.name != engine) continue;
    if (oldest == nullptr) oldest = &profile;
    newest = &profile;
    if (version_numbers(profile.since) <= wanted) chosen = &profile;
  }
  if (newest == nullptr) {
    const std::string near = nearest_name(engine, engine_names());
    throw UsageError({fmt::format("unknown engine \"{}\"", engine), "--engine",
                      fmt::format("known engines: {}", fmt::join(engine_names(), ", ")),
                      near.empty() ? "" : fmt::format("--engine {}", near)});
  }
  if (version.empty()) return {newest, ""};
  const std::vector<int> read = version_numbers(newest->read);
  if (wanted.empty() || read.empty()) {
    return {newest, fmt::format("the rules of {} {} are not known; these are from {}", engine,
                                version, newest->read)};
  }
  if (chosen == nullptr) {
    return {oldest, fmt::format("{} {} is older than any version whose rules are known; these are "
                                "from {}",
                                engine, version, oldest->read)};
  }
  if (chosen == newest && beyond(wanted, read)) {
    return {newest, fmt::format("{} {} is newer than {}, the last version whose rules are known",
                                engine, version, newest->read)};
  }
  return {chosen, ""};
}

}  // namespace indexcache
