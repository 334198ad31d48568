// SPDX-License-Identifier: Apache-2.0
#include "io/json_field.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <cmath>

namespace indexcache {
void JsonField::fail(const std::string& why) const {
  throw InputError(
      {source_->what, source_->where, path_.empty() ? why : path_ + ": " + why, source_->remedy});
}

void JsonField::require_type(bool holds, const char* wanted) const {
  if (!holds) fail(fmt::format("expected {}, found {}", wanted, described(*json_)));
}

JsonField JsonField::child(const std::string& key, const Json& json) const {
  return {json, *source_, path_.empty() ? key : path_ + "." + key};
}

JsonField JsonField::at(const std::string& key) const {
  require_type(json_->is_object(), "an object");
  const auto found = json_->find(key);
  if (found == json_->end()) {
    const std::string place = path_.empty() ? "it has no key" : path_ + " has no key";
    throw InputError(
        {source_->what, source_->where, fmt::format("{} \"{}\"", place, key), source_->remedy});
  }
  return child(key, *found);
}

std::optional<JsonField> JsonField::find(const std::string& key) const {
  require_type(json_->is_object(), "an object");
  const auto found = json_->find(key);
  if (found == json_->end() || found->is_null()) return std::nullopt;
  return child(key, *found);
}

std::optional<JsonField> JsonField::nullable(const std::string& key) const {
  const JsonField member = at(key);
  return member.json().is_null() ? std::nullopt : std::optional(member);
}

std::vector<JsonField> JsonField::elements() const {
  require_type(json_->is_array(), "a list");
  std::vector<JsonField> fields;
  fields.reserve(json_->size());
  for (const Json& entry : *json_) {
    fields.push_back({entry, *source_, fmt::format("{}[{}]", path_, fields.size())});
  }
  return fields;
}

std::vector<std::pair<std::string, JsonField>> JsonField::members() const {
  require_type(json_->is_object(), "an object");
  std::vector<std::pair<std::string, JsonField>> fields;
  for (const auto& [key, value] : json_->items()) fields.emplace_back(key, child(key, value));
  return fields;
}

std::string JsonField::text() const {
  require_type(json_->is_string(), "a string");
  return json_->get<std::string>();
}

bool JsonField::boolean() const {
  require_type(json_->is_boolean(), "true or false");
  return json_->get<bool>();
}

double JsonField::number() const {
  require_type(json_->is_number() && std::isfinite(json_->get<double>()), "a finite number");
  return json_->get<double>();
}

double JsonField::number(double low, double high) const {
  const double value = number();
  if (value < low || value > high) {
    fail(fmt::format("expected a number from {} to {}, found {}", low, high, value));
  }
  return value;
}

std::int64_t JsonField::integer(std::int64_t low, std::int64_t high) const {
  require_type(json_->is_number_integer(), "an integer");
  const bool huge = json_->is_number_unsigned() &&
                    json_->get<std::uint64_t>() >
                        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::int64_t value = huge ? 0 : json_->get<std::int64_t>();
  if (huge || value < low || value > high) {
    fail(fmt::format("expected an integer from {} to {}, found {}", low, high, json_->dump()));
  }
  return value;
}

std::size_t JsonField::count(std::size_t low, std::size_t high) const {
  return static_cast<std::size_t>(
      integer(static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)));
}

std::vector<double> JsonField::numbers(double low, double high) const {
  require_type(json_->is_array(), "a list of numbers");
  std::vector<double> values;
  values.reserve(json_->size());
  for (const Json& entry : *json_) {
    const double value = entry.is_number() ? entry.get<double>() : std::nan("");
    if (!(value >= low && value <= high)) elements()[values.size()].number(low, high);
    values.push_back(value);
  }
  return values;
}

std::vector<std::size_t> JsonField::places(std::size_t count, const std::string& too_many) const {
  std::vector<std::size_t> values;
  for (const JsonField& entry : elements()) {
    const std::size_t low = values.empty() ? 0 : values.back() + 1;
    if (low >= count) entry.fail(too_many);
    values.push_back(entry.count(low, count - 1));
  }
  return values;
}

std::vector<std::size_t> JsonField::layers(std::size_t layers) const {
  return places(layers, fmt::format("the model has only {} layers", layers));
}

std::vector<std::size_t> JsonField::sequences(std::size_t count) const {
  return places(count, fmt::format("there are only {} sequences", count));
}

std::string JsonField::sha256() const {
  std::string value = text();
  if (value.size() != 64 || value.find_first_not_of("0123456789abcdef") != value.npos) {
    fail(fmt::format("expected a SHA-256 of 64 hexadecimal digits, found {}", described(*json_)));
  }
  return value;
}

void JsonField::require(const Json& expected) const {
  if (*json_ == expected) return;
  fail(fmt::format("expected {}, found {}", excerpt(expected.dump()), described(*json_)));
}

}  // namespace indexcache
