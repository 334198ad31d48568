// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include "core/error.h"
#include "io/file_kind.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

namespace indexcache {
namespace {

constexpr const char* kWanted = "JSON";

// The library keeps the last of two equal keys; a config that says a thing twice is refused.
template <typename AnyJson>
class DuplicateKeys {
 public:
  using Event = typename AnyJson::parse_event_t;

  bool operator()(int, Event event, AnyJson& value) {
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && duplicate_.empty()) {
      const auto& key = value.template get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) duplicate_ = key;
    }
    return true;
  }
  const std::string& found() const { return duplicate_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string duplicate_;
};

template <typename AnyJson>
AnyJson parse_strictly(std::string_view text, const std::string& where, const std::string& remedy) {
  DuplicateKeys<AnyJson> duplicates;
  try {
    AnyJson value = AnyJson::parse(text, std::ref(duplicates));
    if (duplicates.found().empty()) return value;
  } catch (const typename AnyJson::exception& error) {
    refuse_other_kind(text, where, kWanted);
    throw InputError({"invalid JSON", where, error.what(), remedy});
  }
  throw InputError({"invalid JSON", where,
                    fmt::format("duplicate key \"{}\" in an object", duplicates.found()), remedy});
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const std::string& remedy) {
  return parse_strictly<Json>(text, where, remedy);
}

LargeJson parse_strict_large_json(std::string_view text, const std::string& where,
                                  const std::string& remedy) {
  return parse_strictly<LargeJson>(text, where, remedy);
}

Json parse_json_line(std::string_view text, const std::string& where, const std::string& remedy) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    refuse_other_kind(text, where, kWanted);
    // "[json.exception.parse_error.101] parse error at line 1, column 9: …": the place is ours.
    const std::string_view message = error.what();
    const std::size_t reason = message.find(": ");
    throw InputError({"invalid JSON", fmt::format("{}:{}", where, error.byte),
                      std::string(message.substr(reason == message.npos ? 0 : reason + 2)),
                      remedy});
  } catch (const Json::exception& error) {
    throw InputError({"invalid JSON", where, error.what(), remedy});
  }
}

LargeJson parse_large_json(std::string_view text, const std::string& where,
                           const std::string& remedy) {
  try {
    return LargeJson::parse(text);
  } catch (const LargeJson::exception& error) {
    refuse_other_kind(text, where, kWanted);
    throw InputError({"invalid JSON", where, error.what(), remedy});
  }
}

std::string hex_float(double value) {
  return fmt::format("{:a}", value);
}

std::optional<double> parse_hex_float(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace indexcache
