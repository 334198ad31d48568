// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace indexcache {

// "8,192": a count as people read it.
std::string count_text(std::int64_t count);

}  // namespace indexcache
