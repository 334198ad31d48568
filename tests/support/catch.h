// SPDX-License-Identifier: Apache-2.0
// Catch2 2 (Debian 12) and 3 (Ubuntu 24.04) behind one include.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define INDEXCACHE_CATCH_CONTAINS Catch::Matchers::ContainsSubstring
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#define INDEXCACHE_CATCH_CONTAINS Catch::Matchers::Contains
#endif

namespace indexcache::test {

// Matches text that has `part` in it.
inline auto Contains(const std::string& part) {
  return INDEXCACHE_CATCH_CONTAINS(part);
}

}  // namespace indexcache::test
