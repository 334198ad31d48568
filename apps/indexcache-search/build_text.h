// SPDX-License-Identifier: Apache-2.0
// --version: the version, and what the program was built from and with.
#pragma once

#include <string>

namespace indexcache {

std::string build_text();

}  // namespace indexcache
