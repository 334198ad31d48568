// SPDX-License-Identifier: Apache-2.0
// Every subcommand adds its options and returns what runs it; the exit code is the result.
#pragma once

#include "log_options.h"
#include "ranks/ranks.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

// What several commands share.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  LogOptions log;
  // Joined by the commands that compute on all ranks of a job; main tells them how it ended.
  std::unique_ptr<Ranks> ranks = nullptr;

  Ranks& join_ranks() { return *(ranks = std::make_unique<Ranks>()); }
};

struct Example {
  std::string purpose;    // "search for a quarter of the indexers"
  std::string arguments;  // after the program's name
};

struct Command {
  CLI::App* app;
  std::vector<std::string> required;  // options that CLI, file or environment must give
  std::vector<Example> examples;
  std::function<int()> run;
};

Command add_prepare(CLI::App& app, CommonOptions& common);
Command add_plan(CLI::App& app, CommonOptions& common);
Command add_run(CLI::App& app, CommonOptions& common);
Command add_distill(CLI::App& app, CommonOptions& common);
Command add_overlap(CLI::App& app, CommonOptions& common);
Command add_eval(CLI::App& app, CommonOptions& common);
Command add_check(CLI::App& app, CommonOptions& common);
Command add_export(CLI::App& app, CommonOptions& common);
Command add_inspect(CLI::App& app, CommonOptions& common);
Command add_report(CLI::App& app, CommonOptions& common);
Command add_profile(CLI::App& app, CommonOptions& common);
Command add_bench(CLI::App& app, CommonOptions& common);
// These two print what is made from `commands`, which must outlive them.
Command add_completion(CLI::App& app, const std::vector<Command>& commands);
Command add_manual(CLI::App& app, const std::vector<Command>& commands);

// `inspect` of a prepared file; `sequence` is decoded with the tokenizer that is named or recorded.
int inspect_tokens(const std::string& path, std::int64_t sequence, const std::string& tokenizer,
                   const CommonOptions& common);

}  // namespace indexcache
