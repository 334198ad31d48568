// SPDX-License-Identifier: Apache-2.0
// run: overlap, greedy search, verification, and everything written down.
#include "calibration.h"
#include "commands.h"
#include "core/error.h"
#include "engine.h"
#include "io/files.h"
#include "io/png.h"
#include "plan.h"
#include "present/heatmap.h"
#include "present/page.h"
#include "present/terminal_summary.h"
#include "result/overlap_file.h"
#include "result/result_json.h"
#include "result/stored_pattern.h"
#include "run_folder.h"
#include "run_search.h"
#include "search/journal.h"
#include "search_subject.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>

namespace indexcache {
namespace {

struct RunOptions {
  SearchOptions search;
  std::string budget;
  std::string output;
  bool restart = false;
};

// Seconds of "4h", "1h30m" or "2.5s"; 0 for an empty text.
double parse_duration(const std::string& text) {
  double seconds = 0;
  const char* at = text.c_str();
  while (*at != '\0') {
    char* end = nullptr;
    const double number =
        std::isdigit(static_cast<unsigned char>(*at)) ? std::strtod(at, &end) : -1;
    const double unit = number < 0    ? 0
                        : *end == 'h' ? 3600
                        : *end == 'm' ? 60
                        : *end == 's' ? 1
                                      : 0;
    if (unit == 0 || !std::isfinite(number)) seconds = -1;
    if (seconds < 0) break;
    seconds += number * unit;
    at = end + 1;
  }
  if (text.empty() || seconds > 0) return seconds;
  throw UsageError({fmt::format("--budget {} is no time", text), "--budget", "",
                    "hours, minutes, seconds: 4h, 1h30m or 45s"});
}

std::string joined(const std::vector<bool>& layers) {
  return fmt::format("{}", fmt::join(true_positions(layers), ","));
}

// With bounded runs the target decides which layers a step may share, so another target is another
// search.
std::string run_bound(const Constraints& constraints, const std::vector<Request>& targets) {
  if (constraints.max_run == 0) return "none";
  return fmt::format("{} towards {} F layers", constraints.max_run, targets.back().full);
}

Fingerprint fingerprint(const Model& model, const SearchSubject& subject,
                        const std::string& device) {
  const CalibrationData& data = subject.data;
  const Constraints& constraints = subject.constraints;
  return {{"numerics version", fmt::format("{}", kNumericsVersion)},
          {"device", device},
          {"model config sha256", model.config_sha256},
          {"model weights layout sha256", model.checkpoint.layout_sha256()},
          {"mla-norm-eps", fmt::format("{}", model.config.mla_norm_eps)},
          {"calibration tokens sha256", data.search.fingerprint()},
          {"holdout tokens sha256", data.holdout ? data.holdout->fingerprint() : "none"},
          {"baseline pattern", subject.baseline.text()},
          {"pin-full", joined(constraints.pinned_full)},
          {"pin-shared", joined(constraints.pinned_shared)},
          {"max-run", run_bound(constraints, subject.targets)}};
}

constexpr const char* kReport = "report.html";
constexpr const char* kOutputs[] = {"run.json", "overlap.h5", "heatmap.png", "pattern.yaml"};

// The stored result, if the folder holds exactly this run, finished.
std::optional<Result> finished_run(const std::filesystem::path& folder, const Fingerprint& wanted,
                                   const std::vector<Request>& targets) {
  for (const char* name : kOutputs) {
    if (!std::filesystem::exists(folder / name)) return std::nullopt;
  }
  Result result = read_result(folder);
  if (result.fingerprint != wanted || result.targets.size() != targets.size()) return std::nullopt;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    if (result.targets[t].request != targets[t].text) return std::nullopt;
    const std::size_t kept = targets[t].full;
    if (!std::filesystem::exists(folder / pattern_file_name(t, targets.size(), kept))) {
      return std::nullopt;
    }
  }
  return result;
}

// What a run wrote, patterns of every size included.
void discard_outputs(const std::filesystem::path& folder, std::size_t layers) {
  for (const char* name : kOutputs) std::filesystem::remove(folder / name);
  std::filesystem::remove(folder / kReport);
  for (std::size_t kept = 1; kept <= layers; ++kept) {
    std::filesystem::remove(folder / pattern_file_name(0, 2, kept));
  }
}

// What a kill in the middle of a write left: "NAME.tmp-PID" of an output. The journal's lock is
// held, so nobody is writing one.
void remove_leftovers(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const std::string output = name.substr(0, name.find(".tmp-"));
    const bool ours = std::ranges::find(kOutputs, output) != std::end(kOutputs) ||
                      output == kReport || output.starts_with("pattern-");
    if (output != name && ours) std::filesystem::remove(entry.path());
  }
}

void write_outputs(const std::filesystem::path& folder, const RunResult& run) {
  const Result& result = run.result;
  write_overlap(folder / "overlap.h5", run.overlap, result.model, result.calibration);
  write_png(folder / "heatmap.png", draw_heatmap(run.overlap, result.model.name));
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    const std::size_t kept = result.targets[t].calibration.pattern.full_count();
    write_file(folder / pattern_file_name(t, result.targets.size(), kept),
               to_pattern_yaml(result, t));
  }
  write_file(folder / "run.json", to_json(result).dump(1) + "\n");
  write_file(folder / kReport, report_html({result, run.overlap, {}, folder.filename().string()}));
}

void print_result(const Result& result, const RunOptions& options, const CommonOptions& common,
                  Progress& progress) {
  progress.clear();
  fmt::print("{}",
             common.json ? to_json(result).dump(1) + "\n" : summary_text(result, options.output));
}

int run_run(const RunOptions& options, const CommonOptions& common) {
  parse_duration(options.budget);
  EngineOptions engine = options.search.engine;
  std::unique_ptr<Backend> backend = make_backend(engine);
  Progress progress(progress_style(engine.progress, common));
  const Model model = open_model(engine.model, engine.mla_norm_eps);
  const SearchSubject subject = open_subject(options.search, model, *backend, progress);
  const Fingerprint print = fingerprint(model, subject, backend->name());
  const PlanReport plan = make_plan(model, subject, *backend, engine);
  check_fits(plan, subject);

  const std::filesystem::path folder = options.output;
  prepare_folder(folder, {"journal.jsonl"});
  Journal journal(folder / "journal.jsonl", print, options.restart);
  remove_leftovers(folder);
  if (options.restart) discard_outputs(folder, model.has_indexer.size());
  if (journal.dropped_torn_line()) {
    progress.note("the journal ended in a torn line, which was dropped: that wave is done again");
  }
  if (const auto run = finished_run(folder, print, subject.targets)) {
    progress.note("this run is finished already");
    if (!std::filesystem::exists(folder / kReport)) {
      write_file(folder / kReport, report_html(read_report(folder)));
    }
    print_result(*run, options, common, progress);
    return 0;
  }
  for (const std::string& line : plan_lines(plan)) progress.note(line);
  engine.weights = name_of(plan.placement);
  const RunInputs inputs{engine, model, subject, print, parse_duration(options.budget)};
  const RunResult run = run_search(inputs, std::move(backend), journal, progress);
  write_outputs(folder, run);
  print_result(run.result, options, common, progress);
  return 0;
}

}  // namespace

Command add_run(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand(
      "run", "Overlap, greedy search, verification on held-out data, and all files");
  add_search_options(*command, options->search);
  command
      ->add_option(
          "--budget", options->budget,
          "Time after which the search ends with the steps it has done: 4h, 90m, 1h30m, 45s")
      ->type_name("TIME");
  command->add_option("-o,--output", options->output, "Run folder; a run there is continued")
      ->type_name("DIR");
  command->add_flag("--restart", options->restart, "Discard what the run folder holds");
  add_common_options(*command, common);
  return {command, {"model", "calibration", "output"}, [options, &common] {
            return run_run(*options, common);
          }};
}

}  // namespace indexcache
