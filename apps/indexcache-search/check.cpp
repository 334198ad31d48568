// SPDX-License-Identifier: Apache-2.0
// check: the gate of a CI job. Needs neither model nor GPU.
#include "commands.h"
#include "core/console.h"
#include "core/error.h"
#include "core/log.h"
#include "device_options.h"
#include "gate/verdict.h"
#include "io/files.h"
#include "io/json_text.h"
#include "option_values.h"
#include "present/verdict_metrics.h"
#include "present/verdict_output.h"
#include "profile/profile_json.h"
#include "result/pattern_file.h"
#include "run/folder.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace indexcache {
namespace {

struct CheckOptions {
  std::string source;
  std::string target;
  std::string gate;
  std::string baseline;
  std::string drift;
  std::string profile;
  std::string output;
  std::string metrics;
};

void write_files(const std::filesystem::path& folder, const Verdict& verdict) {
  make_folder(folder);
  write_file(folder / "verdict.json", json_text(verdict_json(verdict), 1) + "\n");
  write_file(folder / "junit.xml", verdict_junit(verdict));
}

// The summary is an extra: a runner that does not take it does not change the verdict.
void append_step_summary(const char* path, const Verdict& verdict) {
  const int error = append_to_file(path, verdict_markdown(verdict));
  if (error == 0) return;
  write_record(
      {.level = LogLevel::warning,
       .message = fmt::format("cannot write the step summary {}: {}", path, std::strerror(error))});
}

void tell_github(const Verdict& verdict) {
  const char* actions = std::getenv("GITHUB_ACTIONS");
  if (actions == nullptr || std::string(actions) != "true") return;
  narrate(verdict_annotations(verdict));
  if (const char* summary = std::getenv("GITHUB_STEP_SUMMARY"); summary != nullptr && *summary) {
    append_step_summary(summary, verdict);
  }
}

// The file that is named, else that of the run folder, if it has one.
std::optional<Profile> profile_of(const CheckOptions& options) {
  if (!options.profile.empty()) return read_profile(options.profile);
  const std::filesystem::path file = std::filesystem::path(options.source) / kProfileFile;
  if (!std::filesystem::is_regular_file(file)) return std::nullopt;
  return read_profile(file);
}

int run_check(const CheckOptions& options, const CommonOptions& common) {
  const Gate gate = read_gate(options.gate);
  const StoredPattern result = read_stored_pattern(options.source, options.target);
  std::optional<StoredPattern> baseline;
  if (!options.baseline.empty()) baseline = read_stored_pattern(options.baseline);
  std::optional<Drift> drift;
  if (!options.drift.empty()) drift = read_drift(options.drift);
  const std::optional<Profile> profile = profile_of(options);
  const Verdict verdict = apply_gate(gate, result, baseline, drift, profile);
  if (!options.output.empty()) write_files(options.output, verdict);
  if (!options.metrics.empty()) {
    write_file(options.metrics,
               verdict_metrics(verdict, drift ? &*drift : nullptr, profile ? &*profile : nullptr));
  }
  if (common.json) {
    write_output("{}\n", json_text(verdict_json(verdict), 1));
  } else {
    write_output("{}", verdict_table(verdict));
  }
  flush_output();
  tell_github(verdict);
  return static_cast<int>(verdict.passed() ? ExitCode::success : ExitCode::gate_failed);
}

}  // namespace

Command add_check(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand(
      "check", "Check a result against limits, for CI: exits with 1 if any is exceeded");
  {
    const OptionGroup group(*command, "Input and output");
    command
        ->add_option("source", options->source,
                     "Result to check: a run folder, its run.json, or a pattern.yaml")
        ->type_name("RUN|PATTERN");
    command->add_option("-g,--gate", options->gate, "File of limits, such as configs/ci-gate.yaml")
        ->type_name("FILE");
    command
        ->add_option("--baseline", options->baseline,
                     "Result to compare with, such as a run.json or pattern.yaml kept in the "
                     "repository")
        ->type_name("FILE");
    command->add_option("--drift", options->drift, "A drift.json written by overlap --against")
        ->type_name("FILE");
    command
        ->add_option("--profile", options->profile,
                     "A profile.json written by profile (default: that of the run folder)")
        ->type_name("FILE");
    add_target_option(*command, options->target);
    command->add_option("-o,--output", options->output, "Folder for verdict.json and junit.xml")
        ->type_name("DIR");
    command
        ->add_option("--metrics", options->metrics,
                     "File of metrics for Prometheus, such as the textfile collector of "
                     "node_exporter reads")
        ->type_name("FILE");
  }
  add_common_options(*command, common);
  return {command,
          {"source", "gate"},
          {{"in a CI job", "check run --gate configs/ci-gate.yaml -o verdict"},
           {"for an alarm when the overlap on this week's data falls",
            "check run --gate drift.yaml --drift drift.json --metrics indexcache.prom"}},
          [options, &common] { return run_check(*options, common); }};
}

}  // namespace indexcache
