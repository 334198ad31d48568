// SPDX-License-Identifier: Apache-2.0
#include "core/fingerprint_check.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

std::string value_of(const Fingerprint& fingerprint, const std::string& field) {
  const auto found = std::ranges::find(fingerprint, field, &Fingerprint::value_type::first);
  return found == fingerprint.end() ? "" : found->second;
}

}  // namespace

void check_fingerprint(const Fingerprint& stored, const Fingerprint& wanted,
                       const std::string& what, const std::string& where,
                       const std::string& remedy) {
  for (const Fingerprint* fields : {&wanted, &stored}) {
    for (const auto& [field, ignored] : *fields) {
      const std::string before = value_of(stored, field), now = value_of(wanted, field);
      if (before == now) continue;
      throw ResumeMismatch({what, where,
                            fmt::format("{} was \"{}\" and is now \"{}\"", field, before, now),
                            remedy});
    }
  }
}

}  // namespace indexcache
