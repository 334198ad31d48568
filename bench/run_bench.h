// SPDX-License-Identifier: Apache-2.0
// The main function of a benchmark of two files: a model and tokens, a tokenizer and text.
#pragma once

#include "core/error.h"

#include <fmt/format.h>

namespace indexcache {

// Exit code: 2 without both arguments, an error's own where one is thrown.
inline int run_bench(int argc, char** argv, const char* usage,
                     int (*bench)(const char* first, const char* second)) {
  if (argc != 3) {
    fmt::print(stderr, "usage: {}\n", usage);
    return 2;
  }
  try {
    return bench(argv[1], argv[2]);
  } catch (const Error& error) {
    fmt::print(stderr, "{}", error.describe());
    return static_cast<int>(error.code());
  }
}

}  // namespace indexcache
