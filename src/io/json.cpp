// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include "core/error.h"
#include "core/quote.h"
#include "io/file_kind.h"
#include "io/json_dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

namespace indexcache {
namespace {

constexpr std::size_t kDeepest = 500;  // values are written and compared recursively

// What is not JSON, and the byte of the text where that shows.
struct Flaw {
  std::string reason;
  std::size_t at = 0;
};

struct Dialect {
  bool unique_keys = false;
  bool python = false;
};

// Sees every key and value while they are parsed.
template <typename AnyJson>
class Watcher {
 public:
  using Event = typename AnyJson::parse_event_t;

  Watcher(bool unique_keys, bool numbers) : unique_keys_(unique_keys), numbers_(numbers) {}

  bool operator()(int, Event event, AnyJson& value) {
    if (unique_keys_) watch_keys(event, value);
    if (numbers_ && event == Event::value && value.is_string()) {
      const auto number = number_behind(value.template get_ref<const std::string&>());
      if (number) value = *number;
    }
    return true;
  }
  const std::optional<std::string>& duplicate() const { return duplicate_; }

 private:
  // The library keeps the last of two equal keys; a config that says a thing twice is refused.
  void watch_keys(Event event, const AnyJson& value) {
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !duplicate_) {
      const auto& key = value.template get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) duplicate_ = key;
    }
  }

  bool unique_keys_;
  bool numbers_;
  std::vector<std::set<std::string>> keys_;
  std::optional<std::string> duplicate_;
};

// "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error while parsing
// value - invalid literal; last read: '…'" -> "invalid literal". What was last read may be the
// whole document, and the place is ours to name.
std::string reason_of(std::string_view message) {
  if (message.find("exception.out_of_range") != std::string_view::npos) {
    return "a number is too large";
  }
  for (const std::string_view lead : {": ", " - "}) {
    const std::size_t found = message.find(lead);
    if (found != std::string_view::npos) message.remove_prefix(found + lead.size());
  }
  return std::string(message.substr(0, message.find("; last read: ")));
}

template <typename AnyJson>
std::optional<Flaw> try_parse(std::string_view text, Dialect dialect, bool numbers,
                              AnyJson& value) {
  Watcher<AnyJson> watcher(dialect.unique_keys, numbers);
  try {
    value = dialect.unique_keys || numbers ? AnyJson::parse(text, std::ref(watcher))
                                           : AnyJson::parse(text);
  } catch (const typename AnyJson::parse_error& error) {
    return Flaw{reason_of(error.what()), error.byte == 0 ? 0 : error.byte - 1};
  } catch (const typename AnyJson::exception& error) {
    return Flaw{reason_of(error.what()), text.npos};
  }
  if (!watcher.duplicate()) return std::nullopt;
  return Flaw{"duplicate key " + quote(*watcher.duplicate()) + " in an object", text.npos};
}

// Parses into `value`; the number of replaced surrogates, or what is wrong.
template <typename AnyJson>
std::optional<Flaw> parse_dialect(std::string_view text, Dialect dialect, AnyJson& value,
                                  std::size_t& replaced) {
  if (const auto wide = wide_encoding(text); !wide.empty()) {
    return Flaw{fmt::format("it is {}, not UTF-8; `iconv -f {} -t UTF-8` converts it", wide, wide),
                text.npos};
  }
  if (json_depth(text) > kDeepest) {
    return Flaw{fmt::format("lists and objects are nested more than {} levels deep", kDeepest),
                text.npos};
  }
  auto flaw = try_parse(text, dialect, false, value);
  if (!flaw || !dialect.python) return flaw;
  const auto strict = strict_json_text(text);
  if (!strict) return flaw;
  replaced = strict->surrogates;
  return try_parse(strict->text, dialect, strict->has_numbers, value);
}

JsonPlace place_in(std::string_view text, std::size_t at, JsonPlace place) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const std::size_t newline = before.rfind('\n');
  place.line += static_cast<std::size_t>(std::ranges::count(before, '\n'));
  place.column = newline == before.npos ? place.column + before.size() : before.size() - newline;
  return place;
}

std::string reason_in(std::string_view text, const Flaw& flaw) {
  if (flaw.at >= text.size()) return flaw.reason;
  return fmt::format("{}, near {}", flaw.reason, quote(text, flaw.at));
}

template <typename AnyJson>
AnyJson parse_file(std::string_view text, const std::string& where, const std::string& remedy,
                   Dialect dialect) {
  AnyJson value;
  std::size_t replaced = 0;
  const auto flaw = parse_dialect(text, dialect, value, replaced);
  if (!flaw) return value;
  refuse_other_kind(text, where, "JSON");
  std::string why = reason_in(text, *flaw);
  if (flaw->at != text.npos) {
    const JsonPlace place = place_in(text, flaw->at, {});
    why = fmt::format("line {}, column {}: {}", place.line, place.column, why);
  }
  throw InputError({"invalid JSON", where, why, remedy});
}

template <typename AnyJson>
std::string describe(const AnyJson& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return quote(value.template get_ref<const std::string&>());
  if (value.is_number_float() && !std::isfinite(value.template get<double>())) {
    const auto number = value.template get<double>();
    return std::isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity";
  }
  return value.dump();
}

// Numbers that JSON cannot express, as strings with `mark`.
void mark_numbers(Json& json, const std::string& mark) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) json = mark + described(json);
  if (!json.is_structured()) return;
  for (Json& inner : json) mark_numbers(inner, mark);
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const std::string& remedy) {
  return parse_file<Json>(text, where, remedy, {.unique_keys = true});
}

Json parse_foreign_json(std::string_view text, const std::string& where,
                        const std::string& remedy) {
  return parse_file<Json>(text, where, remedy, {.unique_keys = true, .python = true});
}

std::string foreign_json_text(const Json& json, int indent) {
  const std::string plain = json.dump(indent);
  std::string mark = "number ";
  while (plain.find(mark) != plain.npos) mark += '#';
  Json marked = json;
  mark_numbers(marked, mark);
  std::string text = marked.dump(indent);
  const std::string before = '"' + mark;
  for (std::size_t at = text.find(before); at != text.npos; at = text.find(before, at)) {
    text.erase(at, before.size());
    text.erase(text.find('"', at), 1);
  }
  return text;
}

JsonDocument parse_json_document(std::string_view text, const JsonPlace& place,
                                 const std::string& remedy) {
  JsonDocument document;
  const auto flaw = parse_dialect(text, {.python = true}, document.value, document.replaced);
  if (!flaw) return document;
  refuse_other_kind(text, place.file, "JSON");
  const JsonPlace at = place_in(text, flaw->at == text.npos ? 0 : flaw->at, place);
  throw InputError({"invalid JSON", fmt::format("{}:{}:{}", at.file, at.line, at.column),
                    reason_in(text, *flaw), remedy});
}

LargeJson parse_large_json(std::string_view text, const std::string& where,
                           const std::string& remedy) {
  return parse_file<LargeJson>(text, where, remedy, {});
}

LargeJson parse_strict_large_json(std::string_view text, const std::string& where,
                                  const std::string& remedy) {
  return parse_file<LargeJson>(text, where, remedy, {.unique_keys = true, .python = true});
}

std::string described(const Json& value) {
  return describe(value);
}

std::string described(const LargeJson& value) {
  return describe(value);
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
