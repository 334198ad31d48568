// SPDX-License-Identifier: Apache-2.0
// Which instruction set the CPU backend computes with.
//
// A build has one Arithmetic for each of x86-64-v4 (AVX-512), x86-64-v3 (AVX2 and FMA) and
// x86-64-v2 (SSE4.2), or only one for the -march that INDEXCACHE_CPU_ARCH of CMake names. The best
// that the processor has is chosen when a backend is made. The environment variable
// INDEXCACHE_CPU_ISA (v2, v3 or v4) asks for a certain one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace indexcache::cpu {

struct Arithmetic;

struct Isa {
  std::string_view name;  // "x86-64-v3", or the -march of the build: "native"
  const Arithmetic* arithmetic;

  // For records and fingerprints: the name, and if that does not say it, the level as well.
  std::string text() const;
  // Whether the processor and the operating system have every instruction of it.
  bool runs_here() const;
};

// Those of this build, the best first.
std::span<const Isa> isas();

// The first that runs here, or the one that is asked for: by its name or by the end of it ("v3").
// Throws UsageError for a name that this build does not have, ResourceError if the processor lacks
// it.
const Isa& choose_isa(std::string_view wanted);

inline constexpr const char* kIsaVariable = "INDEXCACHE_CPU_ISA";

// The value of that variable; empty if it is not set.
std::string_view wanted_isa();

}  // namespace indexcache::cpu
