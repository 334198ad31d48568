// SPDX-License-Identifier: Apache-2.0
// The main function of a benchmark whose arguments are all needed.
#pragma once

#include "core/allocator.h"
#include "core/error.h"

#include <fmt/format.h>

#include <cstddef>
#include <utility>

namespace indexcache {

// Exit code: 2 without every argument, an error's own where one is thrown.
template <typename... Texts>
int run_bench(int argc, char** argv, const char* usage, int (*bench)(Texts...)) {
  if (argc != 1 + static_cast<int>(sizeof...(Texts))) {
    fmt::print(stderr, "usage: {}\n", usage);
    return 2;
  }
  keep_freed_memory();
  try {
    return [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
      return bench(argv[1 + kIndex]...);
    }
    (std::index_sequence_for<Texts...>());
  } catch (const Error& error) {
    fmt::print(stderr, "{}", error.describe());
    return static_cast<int>(error.code());
  }
}

}  // namespace indexcache
