// SPDX-License-Identifier: Apache-2.0
// Whether stored work may be continued.
#pragma once

#include "core/fingerprint.h"

#include <string>

namespace indexcache {

// Throws ResumeMismatch naming the first field that differs; a field that only one of the two has
// differs, too. `what` and `remedy` are those of the error, `where` is the file.
void check_fingerprint(const Fingerprint& stored, const Fingerprint& wanted,
                       const std::string& what, const std::string& where,
                       const std::string& remedy);

}  // namespace indexcache
