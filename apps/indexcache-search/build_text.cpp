// SPDX-License-Identifier: Apache-2.0
#include "build_text.h"

#include "build_info.h"
#include "version.h"

#include <fmt/format.h>

namespace indexcache {

std::string build_text() {
  return fmt::format(
      "{} {}\n"
      "revision   {}\n"
      "numerics   version {}\n"
      "compiler   {}\n"
      "CUDA       {}\n"
      "libraries  {}\n",
      kToolName, kToolVersion, kRevision, kNumericsVersion, kCompiler, kCuda, kLibraries);
}

}  // namespace indexcache
