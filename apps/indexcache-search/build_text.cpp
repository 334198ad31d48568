// SPDX-License-Identifier: Apache-2.0
#include "build_text.h"

#include "backend/cpu/isa.h"
#include "build_info.h"
#include "ranks/communicator.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace indexcache {
namespace {

// "x86-64-v4 here, of x86-64-v4, x86-64-v3, x86-64-v2"
std::string instruction_sets() {
  std::vector<std::string> built;
  std::string here;
  for (const cpu::Isa& isa : cpu::isas()) {
    if (here.empty() && isa.runs_here()) here = isa.text();
    built.push_back(isa.text());
  }
  return fmt::format("{} here, of {}", here.empty() ? "none" : here, fmt::join(built, ", "));
}

}  // namespace

std::string build_text() {
  return fmt::format(
      "{} {}\n"
      "revision   {}\n"
      "numerics   version {}\n"
      "compiler   {}\n"
      "CPU        {}\n"
      "CUDA       {}\n"
      "MPI        {}\n"
      "libraries  {}\n",
      kToolName, kToolVersion, kRevision, kNumericsVersion, kCompiler, instruction_sets(), kCuda,
      communicator_text(), kLibraries);
}

}  // namespace indexcache
