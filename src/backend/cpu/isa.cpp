// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/isa.h"

#include "backend/cpu/arithmetic/arithmetic.h"
#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace indexcache::cpu {
namespace {

#define INDEXCACHE_CPU_ISA(name, arithmetic) extern "C" const Arithmetic arithmetic;
#include "cpu_isas.inc"
#undef INDEXCACHE_CPU_ISA

#define INDEXCACHE_CPU_ISA(name, arithmetic) {name, &(arithmetic)},
constexpr Isa kIsas[] = {
#include "cpu_isas.inc"
};
#undef INDEXCACHE_CPU_ISA

std::string names() {
  std::string text;
  for (const Isa& isa : kIsas) text += (text.empty() ? "" : ", ") + std::string(isa.name);
  return text;
}

[[noreturn]] void refuse(const Isa& isa) {
  throw ResourceError(
      {fmt::format("this processor lacks the instructions of {}", isa.arithmetic->compiled_for),
       fmt::format("{}={}", kIsaVariable, isa.name),
       "it was requested, but this processor would stop at its first instruction",
       fmt::format("unset {} to use the best set that this processor supports", kIsaVariable)});
}

}  // namespace

std::string Isa::text() const {
  const std::string_view level = arithmetic->compiled_for;
  return level == name || level.empty() ? std::string(name) : fmt::format("{} {}", name, level);
}

bool Isa::runs_here() const {
  const std::string_view level = arithmetic->compiled_for;
#if defined(__x86_64__) && !defined(__clang__)
  __builtin_cpu_init();
  if (level == "x86-64-v4") return __builtin_cpu_supports("x86-64-v4") != 0;
  if (level == "x86-64-v3") return __builtin_cpu_supports("x86-64-v3") != 0;
  return __builtin_cpu_supports("x86-64-v2") != 0;
#else
  // One instruction set, that of the machine at hand: Clang builds only fuzz targets.
  static_cast<void>(level);
  return true;
#endif
}

std::span<const Isa> isas() {
  return kIsas;
}

std::string_view wanted_isa() {
  const char* value = std::getenv(kIsaVariable);
  return value == nullptr ? "" : value;
}

const Isa& choose_isa(std::string_view wanted) {
  if (wanted.empty()) {
    const auto* best = std::ranges::find_if(kIsas, &Isa::runs_here);
    if (best != std::end(kIsas)) return *best;
    throw ResourceError({"this processor is too old for the CPU backend", "--device cpu",
                         fmt::format("it lacks instructions of {}, which this build requires",
                                     std::rbegin(kIsas)->arithmetic->compiled_for),
                         "a newer processor, a build for this one, or --device cuda"});
  }
  const auto* isa = std::ranges::find_if(kIsas, [&](const Isa& candidate) {
    return candidate.name == wanted || candidate.name == fmt::format("x86-64-{}", wanted);
  });
  if (isa == std::end(kIsas)) {
    throw UsageError({fmt::format("this build has no instruction set \"{}\"", wanted.substr(0, 40)),
                      kIsaVariable, "", fmt::format("{}, or unset it", names())});
  }
  if (!isa->runs_here()) refuse(*isa);
  return *isa;
}

}  // namespace indexcache::cpu
