// SPDX-License-Identifier: Apache-2.0
// A fuzz target is one reader of files that strangers made. It may refuse its input with an Error;
// anything else that leaves it (another exception, a crash, a leak, a hang) is a finding.
#pragma once

#include "core/error.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace indexcache::fuzz {

template <typename Read>
int run(const std::uint8_t* data, std::size_t size, const Read& read) {
  try {
    read(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const InternalError&) {
    throw;  // "a bug in indexcache-search" is one, whatever the input
  } catch (const Error&) {
    return 0;
  }
  return 0;
}

}  // namespace indexcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
