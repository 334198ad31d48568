// SPDX-License-Identifier: Apache-2.0
#include "core/allocator.h"

namespace {

// As main() of the program does: forward passes are faster with it.
[[maybe_unused]] const bool kKeepsFreedMemory = (indexcache::keep_freed_memory(), true);

}  // namespace

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char** argv) {
  return Catch::Session().run(argc, argv);
}
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
