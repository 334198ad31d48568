// SPDX-License-Identifier: Apache-2.0
// Strict access to a JSON document. A field knows its path from the document's root, so that every
// error names the file and the key: "run.json: targets[0].calibration.loss".
#pragma once

#include "io/json.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// What an InputError about a document says besides its cause.
struct JsonSource {
  std::string what;    // "the run cannot be read"
  std::string where;   // the file
  std::string remedy;  // a concrete thing to try
};

// A value of a document. Refers to the document and its source, which must outlive it. Every member
// function throws InputError if the value is not what it is asked to be.
class JsonField {
 public:
  JsonField(const Json& root, const JsonSource& source) : json_(&root), source_(&source) {}

  const Json& json() const { return *json_; }
  const std::string& path() const { return path_; }

  // A member of an object: at() requires it, nullable() requires it too but gives nullopt for null,
  // find() gives nullopt if it is absent or null.
  JsonField at(const std::string& key) const;
  std::optional<JsonField> nullable(const std::string& key) const;
  std::optional<JsonField> find(const std::string& key) const;

  std::vector<JsonField> elements() const;
  std::vector<std::pair<std::string, JsonField>> members() const;

  std::string text() const;
  bool boolean() const;
  double number() const;  // finite
  double number(double low, double high) const;
  std::int64_t integer(std::int64_t low,
                       std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  std::size_t count(std::size_t low = 0, std::size_t high = std::size_t{1} << 40) const;
  std::vector<double> numbers(double low = std::numeric_limits<double>::lowest(),
                              double high = std::numeric_limits<double>::max()) const;
  // Numbers that identify layers: below `layers`, ascending, none twice.
  std::vector<std::size_t> layers(std::size_t layers) const;
  // The same of `count` sequences.
  std::vector<std::size_t> sequences(std::size_t count) const;
  std::string sha256() const;

  // Requires exactly this value: for members that follow from others.
  void require(const Json& expected) const;

  [[noreturn]] void fail(const std::string& why) const;

 private:
  // Numbers below `count`, ascending, none twice.
  std::vector<std::size_t> places(std::size_t count, const std::string& too_many) const;
  JsonField(const Json& json, const JsonSource& source, std::string path)
      : json_(&json), source_(&source), path_(std::move(path)) {}
  JsonField child(const std::string& key, const Json& json) const;
  void require_type(bool holds, const char* wanted) const;

  const Json* json_;
  const JsonSource* source_;
  std::string path_;
};

}  // namespace indexcache
