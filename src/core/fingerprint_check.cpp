// SPDX-License-Identifier: Apache-2.0
#include "core/fingerprint_check.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace indexcache {
namespace {

std::string value_of(const Fingerprint& fingerprint, const std::string& field) {
  const auto found = std::ranges::find(fingerprint, field, &Fingerprint::value_type::first);
  return found == fingerprint.end() ? "" : found->second;
}

// A hash is not for people: what it is of is named first, and its beginning suffices.
std::string difference(const std::string& field, const std::string& before,
                       const std::string& now) {
  constexpr std::string_view kHash = " sha256";
  if (!field.ends_with(kHash)) {
    return fmt::format("{} was \"{}\" and is now \"{}\"", field, before, now);
  }
  return fmt::format("different {}: the sha256 was {:.12} … and is now {:.12} …",
                     field.substr(0, field.size() - kHash.size()), before, now);
}

}  // namespace

void check_fingerprint(const Fingerprint& stored, const Fingerprint& wanted,
                       const std::string& what, const std::string& where,
                       const std::string& remedy) {
  for (const Fingerprint* fields : {&wanted, &stored}) {
    for (const auto& [field, ignored] : *fields) {
      const std::string before = value_of(stored, field), now = value_of(wanted, field);
      if (before == now) continue;
      throw ResumeMismatch({what, where, difference(field, before, now), remedy});
    }
  }
}

}  // namespace indexcache
