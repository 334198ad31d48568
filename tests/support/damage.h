// SPDX-License-Identifier: Apache-2.0
// A document with one value removed or replaced by one of another type, for every value that it
// holds.
#pragma once

#include "io/json.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache::test {

struct Damage {
  std::string name;  // "/targets/0/kept: null"
  Json document;
};

// One value of each type.
inline const std::vector<Json>& values_of_each_type() {
  static const std::vector<Json> values = {nullptr,       true,          -3, 0.25, "some \"text\"",
                                           Json::array(), Json::object()};
  return values;
}

inline void collect_pointers(const Json& value, const std::string& pointer, std::size_t depth,
                             std::vector<std::string>& pointers) {
  if (!pointer.empty()) pointers.push_back(pointer);
  if (depth == 0) return;
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {
      collect_pointers(member, pointer + "/" + key, depth - 1, pointers);
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      collect_pointers(value[i], pointer + "/" + std::to_string(i), depth - 1, pointers);
    }
  }
}

// JSON pointers to every value down to `depth` levels below the root.
inline std::vector<std::string> pointers_of(const Json& document, std::size_t depth = 64) {
  std::vector<std::string> pointers;
  collect_pointers(document, "", depth, pointers);
  return pointers;
}

inline Json without(const Json& document, const std::string& pointer) {
  Json changed = document;
  const Json::json_pointer path(pointer);
  Json& parent = changed.at(path.parent_pointer());
  if (parent.is_array()) {
    parent.erase(static_cast<std::size_t>(std::stoul(path.back())));
  } else {
    parent.erase(path.back());
  }
  return changed;
}

// Calls `check` with every damaged document, one at a time.
template <typename Check>
void for_every_damage(const Json& document, std::size_t depth, const Check& check) {
  for (const std::string& pointer : pointers_of(document, depth)) {
    check(Damage{pointer + " removed", without(document, pointer)});
    for (const Json& value : values_of_each_type()) {
      Json changed = document;
      Json& place = changed.at(Json::json_pointer(pointer));
      if (place.type() == value.type()) continue;
      place = value;
      check(Damage{pointer + ": " + value.dump(), std::move(changed)});
    }
  }
}

}  // namespace indexcache::test
