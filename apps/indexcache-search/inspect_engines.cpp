// SPDX-License-Identifier: Apache-2.0
#include "inspect_engines.h"

#include "core/console.h"
#include "core/error.h"
#include "io/files.h"
#include "serving/config_reading.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace indexcache {
namespace {

// Indexers that the engine would run but the checkpoint does not contain.
// `numbers` are those of the layers that letters stand for.
void add_missing(const ConfigReading& reading, const std::vector<bool>& has_indexer,
                 const std::vector<std::size_t>& numbers, Json& remarks) {
  std::vector<std::size_t> missing;
  for (std::size_t letter = 0; letter < std::min(reading.schedule.size(), has_indexer.size());
       ++letter) {
    if (reading.schedule[letter] == 'F' && !has_indexer[letter]) missing.push_back(numbers[letter]);
  }
  if (missing.empty()) return;
  remarks.push_back(
      fmt::format("it would run indexers that the checkpoint does not have, on layers {}",
                  fmt::join(missing, ", ")));
}

std::string summary(const Json& reading) {
  const std::string schedule = reading["schedule"];
  if (schedule.empty()) return "does not start";
  return fmt::format("{}  {}F", schedule, std::ranges::count(schedule, 'F'));
}

}  // namespace

Json engine_readings(const Json& config, const Json& overrides,
                     const std::vector<bool>& has_indexer, const std::string& where) {
  const std::vector<std::size_t> numbers = lettered_layers(config, where);
  Json readings = Json::array();
  for (const EngineProfile* profile : newest_profiles()) {
    const ConfigReading reading = read_schedule(*profile, config, overrides, where);
    Json remarks = reading.remarks;
    // An engine that does not share in this model at all says so already.
    if (rules_for(*profile, model_code(config)).unsupported.empty()) {
      add_missing(reading, has_indexer, numbers, remarks);
    }
    readings.push_back(Json{{"engine", profile->name},
                            {"read_in", profile->read},
                            {"schedule", reading.schedule},
                            {"decided_by", reading.decided_by},
                            {"failure", reading.failure.empty() ? Json() : Json(reading.failure)},
                            {"remarks", remarks}});
  }
  return readings;
}

void print_readings(const Json& readings) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const Json& reading : readings) {
    const std::string text = summary(reading);
    const auto same =
        std::ranges::find(groups, text, [](const auto& group) { return group.first; });
    auto& names = same == groups.end()
                      ? groups.emplace_back(text, std::vector<std::string>()).second
                      : same->second;
    names.push_back(reading["engine"]);
  }
  bool first = true;
  for (const auto& [text, names] : groups) {
    write_output("{:<13}{}\n{:<13}  {}\n", first ? "engines read" : "", text, "",
                 fmt::join(names, ", "));
    first = false;
  }
  for (const Json& reading : readings) {
    const std::string name = reading["engine"];
    if (!reading["failure"].is_null()) {
      write_output("warning: {}: {}\n", name, reading["failure"].get<std::string>());
    }
    for (const Json& remark : reading["remarks"]) {
      write_output("note: {}: {}\n", name, remark.get<std::string>());
    }
  }
  if (groups.size() > 1) write_output("warning: engines read this configuration differently\n");
}

Json parse_overrides(const std::string& text) {
  if (text.empty()) return Json::object();
  Json overrides = parse_json(text, "--override", "a JSON object, as the engine accepts it");
  if (overrides.is_object()) return overrides;
  throw UsageError({"--override is not a JSON object", "--override",
                    "found " + described(overrides),
                    R"(--override '{"index_topk_pattern": "FSFF…"}')"});
}

int inspect_config(const std::string& path, const std::string& overrides, bool json) {
  const Json config = parse_foreign_json(read_file(path), path);
  const Json readings = engine_readings(config, parse_overrides(overrides), {}, path);
  if (json) {
    write_output("{}\n", Json{{"config", path},
                              {"layers", config_layers(config, path)},
                              {"pattern_layers", lettered_layers(config, path)},
                              {"engines", readings}}
                             .dump(1));
  } else {
    print_readings(readings);
  }
  return 0;
}

}  // namespace indexcache
