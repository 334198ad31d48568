// SPDX-License-Identifier: Apache-2.0
#include "gate/gate_file.h"

#include "core/error.h"
#include "core/nearest_name.h"
#include "io/files.h"
#include "io/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-gate/1";
constexpr const char* kHelp = "docs/ci.md describes every guard and shows an example";

class GateReader {
 public:
  explicit GateReader(const std::filesystem::path& path) : path_(path) {}

  Gate read(const std::string& text) {
    const Json document = parse(text);
    if (!document.is_object()) fail(1, "it is not a map with the key \"guards\"");
    check_keys(document, "", {"schema", "guards"});
    if (!document.contains("schema") || document["schema"] != kSchema) {
      fail(line_of("/schema"), fmt::format("its schema is {}; this program reads {}",
                                           described(document.value("schema", Json())), kSchema));
    }
    if (!document.contains("guards") || !document["guards"].is_object() ||
        document["guards"].empty()) {
      fail(line_of("/guards"), "it contains no guards and would pass every result");
    }
    std::vector<std::string> names;
    for (const GuardKind& kind : guard_kinds()) names.emplace_back(kind.name);
    const Json& guards = document["guards"];
    check_keys(guards, "/guards", names);
    Gate gate{path_, sha256(text), {}};
    for (const GuardKind& kind : guard_kinds()) {
      if (!guards.contains(kind.name)) continue;
      const std::size_t line = line_of(fmt::format("/guards/{}", kind.name));
      check_limit(kind, guards[kind.name], line);
      gate.guards.push_back({&kind, limit_of(kind, guards[kind.name]), line});
    }
    return gate;
  }

 private:
  // A gate is configuration: whatever is wrong with it is a usage error.
  Json parse(const std::string& text) {
    try {
      return parse_yaml(text, path_.string(), &lines_);
    } catch (const InputError& error) {
      throw UsageError(error.problem());
    }
  }

  void check_keys(const Json& map, const std::string& pointer,
                  const std::vector<std::string>& known) const {
    for (const auto& [key, value] : map.items()) {
      if (std::ranges::find(known, key) != known.end()) continue;
      const std::string near = nearest_name(key, known);
      throw UsageError({fmt::format("the gate has an unknown key \"{}\"", key),
                        fmt::format("{}:{}", path_.string(), line_of(pointer + "/" + key)),
                        "an unknown guard would never be checked",
                        near.empty() ? std::string(kHelp) : fmt::format("did you mean {}?", near)});
    }
  }

  void check_limit(const GuardKind& kind, const Json& limit, std::size_t line) const {
    const auto need = [&](bool holds, const char* what) {
      if (!holds) {
        fail(line, fmt::format("{} is {}; expected {}", kind.name, described(limit), what));
      }
    };
    const auto positive = [](const Json& value) {
      return value.is_number_unsigned() && value > 0 && value <= 4096;
    };
    switch (kind.limit) {
      case LimitKind::number:
        return need(limit.is_number() && std::isfinite(limit.get<double>()), "a number");
      case LimitKind::ratio:
        return need(limit.is_number() && limit >= 0 && limit <= 1, "a number from 0 to 1");
      case LimitKind::flag:
        return need(limit == true, "true (leave the guard out to turn it off)");
      case LimitKind::stages:
        return need(positive(limit), "a number of pipeline stages");
      case LimitKind::partition:
        return need(limit.is_array() && !limit.empty() && std::ranges::all_of(limit, positive),
                    "a list such as [20, 20, 21]");
      case LimitKind::fields:
        return need(limit == true || (limit.is_array() && !limit.empty() &&
                                      std::ranges::all_of(limit, &Json::is_string)),
                    "true, or a list of fields of the fingerprint");
      case LimitKind::contexts:
        return need(!contexts_of(limit).empty(),
                    "a speed-up of at least 1 for each context, such as {131072: 1.3}");
    }
  }

  // By rising context; empty unless every member is a number of tokens with a speed-up.
  static std::vector<std::pair<std::int64_t, double>> contexts_of(const Json& limit) {
    std::vector<std::pair<std::int64_t, double>> contexts;
    if (!limit.is_object()) return contexts;
    for (const auto& [key, value] : limit.items()) {
      std::int64_t tokens = 0;
      const auto [rest, error] = std::from_chars(key.data(), key.data() + key.size(), tokens);
      const bool is_count = error == std::errc() && rest == key.data() + key.size() && tokens > 0;
      if (!is_count || !value.is_number() || !(value >= 1) || !(value <= 1e6)) return {};
      contexts.emplace_back(tokens, value.get<double>());
    }
    std::ranges::sort(contexts);
    return contexts;
  }

  static Limit limit_of(const GuardKind& kind, const Json& json) {
    Limit limit{.text = json.dump(), .number = 0, .sizes = {}, .fields = {}, .contexts = {}};
    if (json.is_number()) limit.number = json.get<double>();
    if (kind.limit == LimitKind::partition) limit.sizes = json.get<std::vector<std::size_t>>();
    if (json.is_array() && kind.limit == LimitKind::fields) {
      limit.fields = json.get<std::vector<std::string>>();
    }
    if (kind.limit == LimitKind::contexts) limit.contexts = contexts_of(json);
    return limit;
  }

  std::size_t line_of(const std::string& pointer) const {
    const auto found = lines_.find(pointer);
    return found == lines_.end() ? 1 : found->second;
  }

  [[noreturn]] void fail(std::size_t line, const std::string& why) const {
    throw UsageError(
        {"the gate cannot be used", fmt::format("{}:{}", path_.string(), line), why, kHelp});
  }

  const std::filesystem::path& path_;
  YamlLines lines_;
};

}  // namespace

Gate read_gate(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    throw UsageError(
        {"the gate file does not exist", path.string(), "", "--gate configs/ci-gate.yaml"});
  }
  return parse_gate(read_file(path), path);
}

Gate parse_gate(const std::string& text, const std::filesystem::path& path) {
  return GateReader(path).read(text);
}

}  // namespace indexcache
