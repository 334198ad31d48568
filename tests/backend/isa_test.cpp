// SPDX-License-Identifier: Apache-2.0
// Every instruction set of this build that the machine has computes the same operations; one can be
// asked for, and nobody gets one that the processor lacks.
#include "backend/cpu/isa.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"
#include "support/compare.h"
#include "support/environment.h"
#include "support/random.h"
#include "support/refusal.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Widths that are no multiple of any vector.
std::vector<float> product_on(const cpu::Isa& isa, const std::vector<float>& x,
                              const std::vector<float>& weight) {
  CpuBackend backend(2, isa);
  RowLayout rows;
  rows.append(131, 0);
  const Tensor out = backend.allocate(131, 45);
  backend.linear(rows, backend.upload(x, 131, 67), backend.upload(weight, 45, 67), out,
                 Store::assign);
  backend.rms_norm(rows, out, backend.upload(std::vector<float>(45, 1.0f), 1, 45), 1e-6f, out);
  return backend.download(out);
}

}  // namespace

TEST_CASE("the best instruction set of the processor is chosen unless one is asked for") {
  const ScopedVariable unset("INDEXCACHE_CPU_ISA", nullptr);
  const auto* best = std::ranges::find_if(cpu::isas(), &cpu::Isa::runs_here).base();
  REQUIRE(best != cpu::isas().data() + cpu::isas().size());
  CHECK(&cpu::choose_isa("") == best);
  CHECK(CpuBackend().name() == "cpu " + best->text());
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!isa.runs_here()) {
      CHECK_THAT(refusal_of([&] { cpu::choose_isa(isa.name); }),
                 Contains("processor lacks") && Contains("INDEXCACHE_CPU_ISA"));
      continue;
    }
    const ScopedVariable asked("INDEXCACHE_CPU_ISA", std::string(isa.name).c_str());
    CHECK(CpuBackend().name() == "cpu " + isa.text());
    if (isa.name.starts_with("x86-64-")) CHECK(&cpu::choose_isa(isa.name.substr(7)) == &isa);
  }
}

TEST_CASE("an instruction set that the build does not have is refused with those it has") {
  for (const char* name : {"v5", "avx2", "x86-64", "V3", " "}) {
    INFO(name);
    CHECK_THROWS_AS(cpu::choose_isa(name), UsageError);
    CHECK_THAT(refusal_of([&] { cpu::choose_isa(name); }),
               Contains(std::string("no instruction set \"") + name + "\"") &&
                   Contains(std::string(cpu::isas().front().name)));
  }
}

TEST_CASE("instruction sets differ at most in the rounding of sums") {
  const auto x = random_floats(131 * 67, 1), weight = random_floats(45 * 67, 2);
  const auto expected = product_on(cpu::choose_isa(""), x, weight);
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!isa.runs_here()) continue;
    INFO(isa.name);
    CHECK_CLOSE(product_on(isa, x, weight), expected, 1e-5);
    CHECK(product_on(isa, x, weight) == product_on(isa, x, weight));
  }
}
