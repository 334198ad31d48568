// SPDX-License-Identifier: Apache-2.0
// Runs the tests where a GPU is usable. Elsewhere it says so, and ctest shows them as skipped.
#define CATCH_CONFIG_RUNNER
#include "backend/make_cuda_backend.h"
#include "support/catch.h"

#include <algorithm>
#include <cstdio>
#include <string_view>

int main(int argc, char** argv) {
  const bool lists = std::any_of(
      argv, argv + argc, [](std::string_view argument) { return argument.starts_with("--list"); });
  std::string reason;
  if (!lists && !indexcache::cuda_is_usable(reason)) {
    std::printf("SKIPPED: no usable GPU: %s\n", reason.c_str());
    return 0;
  }
  return Catch::Session().run(argc, argv);
}
