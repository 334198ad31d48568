// SPDX-License-Identifier: Apache-2.0
// Typed access to one object of config.json. Every failure names file and key, and every key that
// is asked for counts as read, so that the others can be reported.
#pragma once

#include "core/error.h"
#include "io/json.h"

#include <fmt/format.h>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& why) const {
    throw InputError({"config.json cannot be used", where_ + ": " + key, why,
                      "check that this is the config.json published with the checkpoint"});
  }
  void require(bool holds, const std::string& key, const std::string& why) const {
    if (!holds) fail(key, why);
  }

  // null counts as absent: published configs write "index_topk_freq": null.
  bool has(const std::string& key) const {
    read_.insert(key);
    return json_.contains(key) && !json_[key].is_null();
  }
  const Json& at(const std::string& key) const { return json_[key]; }
  const std::string& where() const { return where_; }

  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const {
    require(has(key), key, "the key is missing");
    const Json& value = at(key);
    require(value.is_number_integer(), key, "expected an integer, found " + described(value));
    const auto number = value.get<std::int64_t>();
    require(number >= low && number <= high, key,
            fmt::format("{} is not between {} and {}", described(value), low, high));
    return number;
  }
  std::int64_t integer_or(const std::string& key, std::int64_t low, std::int64_t high,
                          std::int64_t fallback) const {
    return has(key) ? integer(key, low, high) : fallback;
  }

  // In (0, 1e12].
  double positive(const std::string& key) const {
    require(has(key), key, "the key is missing");
    require(at(key).is_number(), key, "expected a number, found " + described(at(key)));
    const auto number = at(key).get<double>();
    require(number > 0 && number <= 1e12, key, described(at(key)) + " is not in (0, 1e12]");
    return number;
  }
  double positive_or(const std::string& key, double fallback) const {
    return has(key) ? positive(key) : fallback;
  }

  bool flag_or(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    require(at(key).is_boolean(), key, "expected true or false, found " + described(at(key)));
    return at(key).get<bool>();
  }

  std::string text_or(const std::string& key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    require(at(key).is_string(), key, "expected a string, found " + described(at(key)));
    return at(key).get<std::string>();
  }

  ConfigReader object(const std::string& key) const {
    require(at(key).is_object(), key, "expected an object");
    return {at(key), where_ + ": " + key};
  }

  // Keys with a value that nobody has asked for. null and false switch something off.
  std::vector<std::string> unread() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json_.items()) {
      if (!read_.contains(key) && !value.is_null() && value != false) keys.push_back(key);
    }
    return keys;
  }

 private:
  const Json& json_;
  std::string where_;
  mutable std::set<std::string> read_;
};

}  // namespace indexcache
