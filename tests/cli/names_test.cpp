// SPDX-License-Identifier: Apache-2.0
// Names of files and folders are bytes: not always UTF-8, and with characters that shells read.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Every command, with all its files and folders named so.
std::vector<std::vector<std::string>> commands(const std::filesystem::path& place,
                                               const std::string& name) {
  const std::string model = place / ("m" + name), tokens = place / ("t" + name + ".jsonl"),
                    run = place / ("r" + name), prepared = place / ("p" + name + ".h5"),
                    gate = place / ("g" + name + ".yaml"), out = place / ("o" + name);
  return {{"inspect", model, "--json"},
          {"prepare", "-i", tokens, "--seq-len", "40", "--holdout", "0", "-o", prepared, "--json"},
          {"inspect", prepared, "--json"},
          {"inspect", prepared},
          {"plan", model, "-c", tokens, "--keep", "1/2", "--json"},
          {"run", model, "-c", tokens, "--keep", "1/2", "-o", run, "--json"},
          {"run", model, "-c", tokens, "--keep", "1/2", "-o", run},
          {"run", model, "-c", tokens, "--keep", "1/3", "-o", run},
          {"eval", model, run, "uniform:2", "-c", tokens, "--json"},
          {"overlap", model, "-c", tokens, "-o", out, "--json"},
          {"overlap", model, "-c", tokens, "-o", out + "2", "--against", run, "--json"},
          {"report", run, "-f", "html,svg,png,md,json", "-o", out, "--json"},
          {"report", run, run, "--compare", "-o", out},
          {"export", run, "--engine", "vllm", "--json"},
          {"export", run, "-e", "sglang", "-m", model, "--write-config", out + "3", "--json"},
          {"check", run, "-g", gate, "-o", out, "--json"}};
}

void fill(const TempFolder& folder, const std::string& name) {
  copy_folder(golden("deepseek_v32_tiny"), folder / ("m" + name));
  std::filesystem::rename(tiny_tokens(folder), folder / ("t" + name + ".jsonl"));
  write_text(folder / ("g" + name + ".yaml"),
             "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 1\n");
}

}  // namespace

TEST_CASE("every command takes names that are not UTF-8, or that shells and markup read") {
  for (const std::string name : {"\xE9l\xFF", " a (1) 'b' $x", "<b>&\"\n", "日本"}) {
    const TempFolder folder;
    fill(folder, name);
    for (const auto& command : commands(folder.path(), name)) {
      const ProcessResult result = run_tool(command);
      INFO(command[0] << " " << command[1] << ": " << result.err);
      REQUIRE(result.code == 0);
      const bool json = command.back() == "--json";
      if (json) CHECK_NOTHROW(Json::parse(result.out));
    }
    CHECK_NOTHROW(Json::parse(read_file(folder / ("r" + name) / "run.json")));
  }
}

TEST_CASE("what a run prints to paste is quoted for a shell") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  const ProcessResult result = run_tool({"run", golden("deepseek_v32_tiny"), "-c", tokens, "--keep",
                                         "1/2,1/3", "-o", folder / "my run (1)"});
  REQUIRE(result.code == 0);
  const std::string quoted = "'" + (folder / "my run (1)").string() + "'";
  CHECK_THAT(result.out, Contains("export " + quoted + " --engine vllm"));
  // The file that is named exists.
  CHECK_THAT(result.out, Contains("my run (1)/pattern.yaml' --calibration"));
  CHECK(std::filesystem::exists(folder / "my run (1)/pattern.yaml"));
}
