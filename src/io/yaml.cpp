// SPDX-License-Identifier: Apache-2.0
#include "io/yaml.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

namespace indexcache {
namespace {

constexpr std::size_t kMostValues = 1'000'000;  // aliases can make a short text expand without end
constexpr int kDeepestYaml = 64;

std::optional<double> decimal(const std::string& text) {
  if (text.find_first_not_of("0123456789+-.eE") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0' || end == text.c_str() || !std::isfinite(value)) return std::nullopt;
  return value;
}

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  std::int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error == std::errc() && end == text.data() + text.size()) {
    // As the JSON parser has it: what is not negative is unsigned.
    return integer < 0 ? Json(integer) : Json(static_cast<std::uint64_t>(integer));
  }
  if (const auto number = decimal(text)) return *number;
  return text;
}

class Converter {
 public:
  Converter(const std::string& where, YamlLines* lines, YamlScalars scalars)
      : where_(where), lines_(lines), scalars_(scalars) {}

  Json convert(const YAML::Node& node, const std::string& pointer, int depth) {
    if (++values_ > kMostValues || depth > kDeepestYaml) fail(node, "it contains too many values");
    if (node.IsMap()) return map(node, pointer, depth);
    if (node.IsSequence()) return sequence(node, pointer, depth);
    if (!node.IsScalar()) return {};
    check_text(node);
    const bool as_written = node.Tag() == "!" || scalars_ == YamlScalars::text;
    return as_written ? Json(node.Scalar()) : plain_scalar(node.Scalar());
  }

 private:
  Json map(const YAML::Node& node, const std::string& pointer, int depth) {
    Json json = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) fail(entry.first, "a key is not a plain word");
      check_text(entry.first);
      const std::string& key = entry.first.Scalar();
      if (json.contains(key)) fail(entry.first, "duplicate key " + quote(key));
      const std::string at = pointer + "/" + key;
      note(at, entry.first);
      json[key] = convert(entry.second, at, depth + 1);
    }
    return json;
  }

  Json sequence(const YAML::Node& node, const std::string& pointer, int depth) {
    Json json = Json::array();
    for (const YAML::Node& entry : node) {
      const std::string at = fmt::format("{}/{}", pointer, json.size());
      note(at, entry);
      json.push_back(convert(entry, at, depth + 1));
    }
    return json;
  }

  // The YAML library takes any bytes; JSON holds only UTF-8.
  void check_text(const YAML::Node& node) const {
    try {
      static_cast<void>(Json(node.Scalar()).dump());
    } catch (const Json::type_error&) {
      fail(node, "a text in it is not UTF-8");
    }
  }

  void note(const std::string& pointer, const YAML::Node& node) {
    if (lines_ != nullptr) (*lines_)[pointer] = static_cast<std::size_t>(node.Mark().line) + 1;
  }

  [[noreturn]] void fail(const YAML::Node& node, const std::string& why) const {
    throw InputError({"the file cannot be used as YAML",
                      fmt::format("{}:{}", where_, node.Mark().line + 1), why,
                      "docs/formats.md has its form"});
  }

  const std::string& where_;
  YamlLines* lines_;
  YamlScalars scalars_;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_yaml(std::string_view text, const std::string& where, YamlLines* lines,
                YamlScalars scalars) {
  try {
    return Converter(where, lines, scalars).convert(YAML::Load(std::string(text)), "", 0);
  } catch (const YAML::Exception& error) {
    throw InputError({"the file is not valid YAML",
                      fmt::format("{}:{}", where, error.mark.line + 1), excerpt(error.msg),
                      "check that the file is complete"});
  }
}

}  // namespace indexcache
