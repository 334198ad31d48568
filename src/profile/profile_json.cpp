// SPDX-License-Identifier: Apache-2.0
#include "profile/profile_json.h"

#include "core/utf8.h"
#include "io/files.h"
#include "io/json_field.h"
#include "version.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

constexpr double kMostSeconds = 1e9;
constexpr double kMostSpeed = 1e12;  // tokens per second
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr const char* kNote =
    "composed of measured passes of one sequence: no queue, no batch and no engine is part of it";

Json model_json(const ProfiledModel& model) {
  return Json{{"name", printable_utf8(model.name)},
              {"index_topk", model.index_topk},
              {"index_heads", model.index_heads},
              {"index_head_dim", model.index_head_dim},
              {"indexer", model.indexer},
              {"config_sha256", model.config_sha256.empty() ? Json() : Json(model.config_sha256)}};
}

ProfiledModel model_of(const JsonField& field) {
  const auto sha256 = field.nullable("config_sha256");
  return {.name = field.at("name").text(),
          .index_topk = field.at("index_topk").integer(1),
          .index_heads = field.at("index_heads").integer(1),
          .index_head_dim = field.at("index_head_dim").integer(1),
          .indexer = field.at("indexer").text(),
          .config_sha256 = sha256 ? sha256->sha256() : std::string()};
}

Json patterns_json(const std::vector<ProfiledPattern>& patterns) {
  Json json = Json::array();
  for (const ProfiledPattern& one : patterns) {
    json.push_back(Json{{"name", printable_utf8(one.name)},
                        {"pattern", one.pattern.text()},
                        {"full_layers", one.pattern.full_count()}});
  }
  return json;
}

std::vector<ProfiledPattern> patterns_of(const JsonField& field) {
  std::vector<ProfiledPattern> patterns;
  for (const JsonField& one : field.elements()) {
    const JsonField text = one.at("pattern");
    Pattern pattern = Pattern::parse(text.text(), text.path());
    if (!patterns.empty() && pattern.layers() != patterns.front().pattern.layers()) {
      text.fail("it has another number of layers than the first pattern");
    }
    one.at("full_layers").require(pattern.full_count());
    patterns.push_back({one.at("name").text(), std::move(pattern)});
  }
  if (patterns.empty()) field.fail("it is empty; the first pattern has every indexer");
  return patterns;
}

Json parts_json(const std::vector<TimedPart>& parts) {
  Json json = Json::array();
  for (const TimedPart& part : parts) {
    json.push_back(Json{{"name", part.name}, {"seconds", part.seconds}});
  }
  return json;
}

Json point_json(const ProfilePoint& point, const std::vector<ProfiledPattern>& patterns) {
  Json json{{"context", point.context}, {"batch", point.batch}};
  if (point.set_copy_seconds) json["set_copy_seconds"] = *point.set_copy_seconds;
  json["indexer_share"] = point.times.front().indexer_share();
  json["limit"] = point.limit();
  json["patterns"] = Json::array();
  for (std::size_t p = 0; p < point.times.size(); ++p) {
    const PatternTime& time = point.times[p];
    json["patterns"].push_back(Json{{"pattern", patterns[p].pattern.text()},
                                    {"seconds", time.seconds},
                                    {"speed_up", point.speed_up(p)},
                                    {"parts", parts_json(time.parts)}});
  }
  return json;
}

PatternTime time_of(const JsonField& field, const ProfiledPattern& pattern) {
  field.at("pattern").require(pattern.pattern.text());
  PatternTime time{.seconds = field.at("seconds").number(1e-12, kMostSeconds), .parts = {}};
  for (const JsonField& part : field.at("parts").elements()) {
    time.parts.push_back({part.at("name").text(), part.at("seconds").number(0, kMostSeconds)});
  }
  return time;
}

ProfilePoint point_of(const JsonField& field, const std::vector<ProfiledPattern>& patterns) {
  ProfilePoint point{.context = field.at("context").integer(1, kMostTokens),
                     .batch = field.at("batch").integer(1, kMostTokens),
                     .times = {}};
  if (const auto copy = field.find("set_copy_seconds")) {
    point.set_copy_seconds = copy->number(0, kMostSeconds);
  }
  const auto times = field.at("patterns").elements();
  if (times.size() != patterns.size()) field.fail("it does not have a time for every pattern");
  for (std::size_t p = 0; p < times.size(); ++p) {
    point.times.push_back(time_of(times[p], patterns[p]));
  }
  for (std::size_t p = 0; p < times.size(); ++p) {
    times[p].at("speed_up").require(point.speed_up(p));
  }
  field.at("indexer_share").require(point.times.front().indexer_share());
  field.at("limit").require(point.limit());
  return point;
}

Json points_json(const std::vector<ProfilePoint>& points,
                 const std::vector<ProfiledPattern>& patterns) {
  Json json = Json::array();
  for (const ProfilePoint& point : points) json.push_back(point_json(point, patterns));
  return json;
}

std::vector<ProfilePoint> points_of(const JsonField& field,
                                    const std::vector<ProfiledPattern>& patterns) {
  const auto size = [](const ProfilePoint& point) { return std::pair(point.context, point.batch); };
  std::vector<ProfilePoint> points;
  for (const JsonField& one : field.elements()) {
    points.push_back(point_of(one, patterns));
    const std::size_t count = points.size();
    if (count > 1 && size(points[count - 2]) >= size(points.back())) {
      one.fail("points are ordered by context and batch, and none appears twice");
    }
  }
  return points;
}

Json traffic_json(const Traffic& traffic, const std::vector<ProfiledPattern>& patterns) {
  Json json{{"note", kNote},
            {"source", printable_utf8(traffic.source)},
            {"sha256", traffic.sha256},
            {"requests", traffic.requests},
            {"prompt_tokens", traffic.prompt_tokens},
            {"output_tokens", traffic.output_tokens},
            {"patterns", Json::array()}};
  for (std::size_t p = 0; p < traffic.times.size(); ++p) {
    const FirstTokenTimes& times = traffic.times[p];
    json["patterns"].push_back(Json{{"pattern", patterns[p].pattern.text()},
                                    {"mean_seconds", times.mean},
                                    {"median_seconds", times.median},
                                    {"p90_seconds", times.p90},
                                    {"p99_seconds", times.p99},
                                    {"prompt_tokens_per_second", traffic.tokens_per_second(p)}});
  }
  return json;
}

Traffic traffic_of(const JsonField& field, const std::vector<ProfiledPattern>& patterns) {
  Traffic traffic{.source = field.at("source").text(),
                  .sha256 = field.at("sha256").sha256(),
                  .requests = field.at("requests").integer(1),
                  .prompt_tokens = field.at("prompt_tokens").integer(1),
                  .output_tokens = field.at("output_tokens").integer(0),
                  .times = {}};
  const auto times = field.at("patterns").elements();
  if (times.size() != patterns.size()) field.fail("it does not have times for every pattern");
  for (std::size_t p = 0; p < times.size(); ++p) {
    times[p].at("pattern").require(patterns[p].pattern.text());
    const auto seconds = [&](const char* key) {
      return times[p].at(key).number(1e-12, kMostSeconds);
    };
    traffic.times.push_back({seconds("mean_seconds"), seconds("median_seconds"),
                             seconds("p90_seconds"), seconds("p99_seconds")});
    times[p].at("prompt_tokens_per_second").number(0, kMostSpeed);
  }
  return traffic;
}

}  // namespace

Json to_json(const Profile& profile) {
  Json json{{"schema", kProfileSchema},
            {"tool", {{"name", kToolName}, {"version", printable_utf8(profile.tool_version)}}},
            {"created", profile.created_at},
            {"model", model_json(profile.model)},
            {"device", printable_utf8(profile.device)},
            {"gpu", profile.gpu},
            {"repeat", profile.repeat},
            {"patterns", patterns_json(profile.patterns)},
            {"prefill", points_json(profile.prefill, profile.patterns)},
            {"decode", points_json(profile.decode, profile.patterns)}};
  if (profile.traffic) json["traffic"] = traffic_json(*profile.traffic, profile.patterns);
  json["warnings"] = Json::array();
  for (const std::string& warning : profile.warnings) {
    json["warnings"].push_back(printable_utf8(warning));
  }
  return json;
}

Profile profile_from_json(const Json& document, const std::string& where) {
  const JsonSource source{"the profile cannot be read", where,
                          "a file that `profile` of this version wrote"};
  const JsonField root(document, source);
  root.at("schema").require(kProfileSchema);
  root.at("tool").at("name").require(kToolName);
  Profile profile{.file = where,
                  .tool_version = root.at("tool").at("version").text(),
                  .created_at = root.at("created").text(),
                  .model = model_of(root.at("model")),
                  .device = root.at("device").text(),
                  .gpu = root.at("gpu").boolean(),
                  .repeat = static_cast<int>(root.at("repeat").integer(1, 1000)),
                  .patterns = patterns_of(root.at("patterns")),
                  .prefill = {},
                  .decode = {},
                  .traffic = std::nullopt,
                  .warnings = {}};
  profile.prefill = points_of(root.at("prefill"), profile.patterns);
  profile.decode = points_of(root.at("decode"), profile.patterns);
  if (const auto traffic = root.find("traffic")) {
    profile.traffic = traffic_of(*traffic, profile.patterns);
  }
  for (const JsonField& warning : root.at("warnings").elements()) {
    profile.warnings.push_back(warning.text());
  }
  return profile;
}

Profile read_profile(const std::filesystem::path& path) {
  return profile_from_json(
      parse_json(read_file(path), path.string(), "a file that `profile` wrote"), path.string());
}

}  // namespace indexcache
