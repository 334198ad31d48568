// SPDX-License-Identifier: Apache-2.0
// The instruction set of the CPU as users meet it: in records, in refusals.
#include "backend/cpu/isa.h"

#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string variable(std::string_view isa) {
  return "INDEXCACHE_CPU_ISA=" + std::string(isa);
}

}  // namespace

TEST_CASE("a run continues only on the instruction set it was begun on") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  const auto run_on = [&](std::string_view isa, const std::string& output) {
    return run_tool({"run", golden("deepseek_v32_tiny"), "-c", tokens, "--device", "cpu", "--keep",
                     "4", "--holdout", "0", "-o", folder / output},
                    {variable(isa)});
  };
  std::vector<const cpu::Isa*> usable;
  for (const cpu::Isa& isa : cpu::isas()) {
    if (isa.runs_here()) usable.push_back(&isa);
  }
  for (const cpu::Isa* isa : usable) {
    const std::string output(isa->name);
    const ProcessResult result = run_on(isa->name, output);
    INFO(result.err);
    REQUIRE(result.code == 0);
    const Json json = parse_json(read_file(folder / output / "run.json"), "run.json");
    CHECK(json["device"] == "cpu " + isa->text());
    CHECK(json["fingerprint"]["device"] == json["device"]);
    for (const cpu::Isa* other : usable) {
      const ProcessResult again = run_on(other->name, output);
      INFO(again.err);
      CHECK(again.code == (other == isa ? 0 : 5));
      if (other == isa) continue;
      CHECK_THAT(again.err, Contains("device was \"cpu " + isa->text() + "\" and is now \"cpu " +
                                     other->text() + "\""));
    }
  }
}

TEST_CASE("an instruction set that does not exist is refused before any work") {
  const TempFolder folder;
  const ProcessResult result =
      run_tool({"run", golden("deepseek_v32_tiny"), "-c", tiny_tokens(folder), "--device", "cpu",
                "--keep", "4", "-o", folder / "out"},
               {variable("v9")});
  CHECK(result.code == 2);
  CHECK_THAT(result.err, Contains("no instruction set \"v9\"") && Contains("INDEXCACHE_CPU_ISA"));
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
}
