// SPDX-License-Identifier: Apache-2.0
// Every command of the program with what it needs.
#pragma once

#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <string>
#include <vector>

namespace indexcache::test {

// Inputs for every command, and a finished run.
struct Workplace {
  Workplace() {
    tiny_tokens(folder);
    write_text(folder / "text.txt", std::string(4000, 'a'));
    write_text(folder / "gate.yaml", "schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 1\n");
    REQUIRE(run_tool(run("finished"), kFixedTime).code == 0);
  }

  std::vector<std::string> run(const std::string& name) const {
    return {"run",       golden("deepseek_v32_tiny"),
            "-c",        folder / "tokens.jsonl",
            "--keep",    "1/2",
            "--threads", "1",
            "-o",        folder / name};
  }

  // Each succeeds where nothing is wrong with its streams.
  std::vector<std::vector<std::string>> commands() const {
    const std::string model = golden("deepseek_v32_tiny"), tokens = folder / "tokens.jsonl";
    const std::string finished = folder / "finished";
    return {{},  // the help, with exit code 2
            {"--help"},
            {"--version"},
            {"inspect", model},
            {"prepare", "-i", tokens, "--seq-len", "40", "--holdout", "0", "-o",
             folder / "prepared.h5"},
            {"inspect", folder / "prepared.h5"},
            {"plan", model, "-c", tokens, "--keep", "1/2"},
            run("again"),
            {"overlap", model, "-c", tokens, "-o", folder / "overlap"},
            {"eval", model, "uniform:2", "-c", tokens},
            {"export", "FFSFSS", "--engine", "vllm"},
            {"export", finished, "--all", "--json"},
            {"check", finished, "-g", folder / "gate.yaml"},
            {"distill", model, "-p", "uniform:2", "-c", tokens, "--steps", "2", "--sparse-steps",
             "1", "-o", folder / "distilled"},
            {"report", finished, "-o", folder / "page.html"},
            {"profile", model, "--context", "64", "--repeat", "1", "--device", "cpu"},
            {"bench", "ops", model, "--context", "64", "--repeat", "1", "--device", "cpu"}};
  }

  TempFolder folder;
};

}  // namespace indexcache::test
