// SPDX-License-Identifier: Apache-2.0
// run: overlap, greedy search, verification, and everything written down.
#include "calibration.h"
#include "commands.h"
#include "core/error.h"
#include "engine.h"
#include "io/files.h"
#include "io/png.h"
#include "pattern_spec.h"
#include "report/heatmap.h"
#include "report/overlap_file.h"
#include "run_folder.h"
#include "run_search.h"
#include "search/greedy.h"
#include "search/journal.h"
#include "search/pipeline_stages.h"
#include "summary.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

namespace indexcache {
namespace {

struct RunOptions {
  EngineOptions engine;
  CalibrationOptions calibration;
  std::vector<std::string> keep;
  std::vector<std::size_t> remove;
  std::vector<std::size_t> pin_full;
  std::size_t pp_size = 0;
  std::vector<std::size_t> pp_partition;
  std::string holdout = "auto";
  std::string output;
  bool restart = false;
};

// Layers that must stay F: those named and the first of every pipeline stage.
std::vector<bool> pinned_layers(const RunOptions& options, const Model& model) {
  const std::size_t layers = model.has_indexer.size();
  std::vector<bool> pinned(layers, false);
  const auto pin = [&](std::size_t layer, const char* option) {
    if (layer >= layers || !model.has_indexer[layer]) {
      throw UsageError({fmt::format("layer {} cannot be pinned full", layer), option,
                        layer >= layers ? fmt::format("the model has layers 0 to {}", layers - 1)
                                        : "the checkpoint has no indexer there",
                        "indexcache-search inspect MODEL shows which layers own an indexer"});
    }
    pinned[layer] = true;
  };
  for (const std::size_t layer : options.pin_full) pin(layer, "--pin-full");
  if (options.pp_size > 0) {
    for (const std::size_t layer : even_stage_starts(options.pp_size, layers)) {
      pin(layer, "--pp-size");
    }
  }
  if (!options.pp_partition.empty()) {
    for (const std::size_t layer : stage_starts(options.pp_partition, layers)) {
      pin(layer, "--pp-partition");
    }
  }
  return pinned;
}

// By falling number of F layers, without duplicates.
std::vector<Request> requests(const RunOptions& options, const Model& model,
                              const std::vector<bool>& pinned) {
  const Pattern baseline = model.baseline();
  const std::size_t owners = baseline.full_count();
  std::vector<Request> list;
  for (const std::string& text : options.keep) {
    list.push_back({text, parse_keep(text, baseline.layers())});
  }
  for (std::size_t count : options.remove) {
    list.push_back({fmt::format("remove {}", count), count < owners ? owners - count : 0});
  }
  if (list.empty()) {
    throw UsageError({"no target is given", "command line", "",
                      "--keep 1/4 (a ratio), --keep 12 (a number of F layers) or --remove 35"});
  }
  const std::size_t fixed = owners - removable_layers(baseline, pinned).size();
  for (const Request& request : list) {
    if (request.full >= fixed && request.full <= owners) continue;
    throw UsageError({fmt::format("the target \"{}\" cannot be reached", request.text),
                      "--keep / --remove",
                      fmt::format("it asks for {} F layers; {} layers own an indexer and {} must "
                                  "stay F (layer 0 and those pinned)",
                                  request.full, owners, fixed),
                      fmt::format("between {} and {} F layers", fixed, owners)});
  }
  std::ranges::stable_sort(list, std::greater<>(), &Request::full);
  const auto repeated = std::ranges::unique(list, {}, &Request::full);
  list.erase(repeated.begin(), repeated.end());
  return list;
}

// Held-out sequences that the search sees as well prove nothing.
void warn_of_shared_sequences(const CalibrationData& data, Progress& progress,
                              std::vector<std::string>& warnings) {
  const std::set<std::vector<std::int32_t>> seen(data.search.sequences.begin(),
                                                 data.search.sequences.end());
  const auto shared = std::ranges::count_if(
      data.holdout->sequences, [&](const auto& sequence) { return seen.contains(sequence); });
  if (shared == 0) return;
  warnings.push_back(
      fmt::format("{} of {} held-out sequences are calibration sequences too: the "
                  "verification is not independent of the search",
                  shared, data.holdout->sequences.size()));
  progress.note("warning: " + warnings.back());
}

// --holdout is a file, a share, or "auto".
CalibrationData load_data(const RunOptions& options, const Model& model, Progress& progress,
                          std::vector<std::string>& warnings) {
  CalibrationLoader loader(options.calibration, model, options.engine.model, options.engine.threads,
                           progress, warnings);
  if (options.holdout == "auto") return loader.split(std::nullopt);
  char* end = nullptr;
  const double share = std::strtod(options.holdout.c_str(), &end);
  if (*end != '\0' || options.holdout.empty()) {
    CalibrationData data = loader.split(0.0);
    data.holdout = loader.whole({options.holdout});
    warn_of_shared_sequences(data, progress, warnings);
    return data;
  }
  if (!(share >= 0 && share < 1)) {
    throw UsageError({fmt::format("--holdout {} is not a share", options.holdout), "--holdout", "",
                      "a file, a share such as 0.25, or 0 for none"});
  }
  return loader.split(share);
}

std::string joined(const std::vector<bool>& layers) {
  std::vector<std::size_t> list;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer]) list.push_back(layer);
  }
  return fmt::format("{}", fmt::join(list, ","));
}

Fingerprint fingerprint(const Model& model, const CalibrationData& data,
                        const std::vector<bool>& pinned, const std::string& device) {
  return {{"numerics version", fmt::format("{}", kNumericsVersion)},
          {"device", device},
          {"model config sha256", model.config_sha256},
          {"model weights layout sha256", model.checkpoint.layout_sha256()},
          {"mla-norm-eps", fmt::format("{}", model.config.mla_norm_eps)},
          {"calibration tokens sha256", data.search.fingerprint()},
          {"holdout tokens sha256", data.holdout ? data.holdout->fingerprint() : "none"},
          {"pin-full", joined(pinned)}};
}

constexpr const char* kOutputs[] = {"run.json", "overlap.h5", "heatmap.png", "pattern.yaml"};

// The stored record, when the folder holds exactly this run, finished.
std::optional<Json> finished_run(const std::filesystem::path& folder, const Fingerprint& wanted,
                                 const std::vector<Request>& targets) {
  for (const char* name : kOutputs) {
    if (!std::filesystem::exists(folder / name)) return std::nullopt;
  }
  Json run = parse_json(read_file(folder / "run.json"), (folder / "run.json").string());
  Json fields = Json::object();
  for (const auto& [field, value] : wanted) fields[field] = value;
  if (!run.is_object() || run.value("fingerprint", Json()) != fields) return std::nullopt;
  if (!run["targets"].is_array() || run["targets"].size() != targets.size()) return std::nullopt;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    if (run["targets"][t]["request"] != targets[t].text) return std::nullopt;
    const std::size_t kept = targets[t].full;
    if (!std::filesystem::exists(folder / pattern_file_name(t, targets.size(), kept))) {
      return std::nullopt;
    }
  }
  return run;
}

// What a run wrote, patterns of every size included.
void discard_outputs(const std::filesystem::path& folder, std::size_t layers) {
  for (const char* name : kOutputs) std::filesystem::remove(folder / name);
  for (std::size_t kept = 1; kept <= layers; ++kept) {
    std::filesystem::remove(folder / pattern_file_name(0, 2, kept));
  }
}

Json write_outputs(const std::filesystem::path& folder, const RunResult& result) {
  const RunRecord& record = result.record;
  write_overlap(folder / "overlap.h5", result.overlap, record.model, record.calibration);
  write_png(folder / "heatmap.png", draw_heatmap(result.overlap, record.model.name));
  for (std::size_t t = 0; t < record.targets.size(); ++t) {
    const std::size_t kept = record.targets[t].calibration.pattern.full_count();
    write_file(folder / pattern_file_name(t, record.targets.size(), kept),
               to_pattern_yaml(record, t));
  }
  Json run = to_json(record, result.overlap);
  write_file(folder / "run.json", run.dump(1) + "\n");
  return run;
}

void print_result(const Json& run, const RunOptions& options, const CommonOptions& common,
                  Progress& progress) {
  progress.clear();
  fmt::print("{}", common.json ? run.dump(1) + "\n" : summary_text(run, options.output));
}

int run_run(const RunOptions& options, const CommonOptions& common) {
  std::unique_ptr<Backend> backend = make_backend(options.engine);
  Progress progress(progress_style(options.engine.progress, common));
  const Model model = open_model(options.engine.model, options.engine.mla_norm_eps);
  const std::vector<bool> pinned = pinned_layers(options, model);
  const std::vector<Request> targets = requests(options, model, pinned);
  std::vector<std::string> warnings;
  const CalibrationData data = load_data(options, model, progress, warnings);
  const Fingerprint print = fingerprint(model, data, pinned, backend->name());

  const std::filesystem::path folder = options.output;
  prepare_folder(folder, {"journal.jsonl"});
  Journal journal(folder / "journal.jsonl", print, options.restart);
  if (options.restart) discard_outputs(folder, model.has_indexer.size());
  if (journal.dropped_torn_line()) {
    progress.note("the journal ended in a torn line, which was dropped: that step is done again");
  }
  if (const auto run = finished_run(folder, print, targets)) {
    progress.note("this run is finished already");
    print_result(*run, options, common, progress);
    return 0;
  }
  const RunInputs inputs{model, pinned, targets, data, print, warnings};
  const RunResult result = run_search(inputs, std::move(backend), journal, progress);
  print_result(write_outputs(folder, result), options, common, progress);
  return 0;
}

}  // namespace

Command add_run(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand(
      "run", "Overlap, greedy search, verification on held-out data, and all files");
  add_engine_options(*command, options->engine);
  add_calibration_options(*command, options->calibration);
  command
      ->add_option("-k,--keep", options->keep,
                   "Indexers to keep: a ratio (1/4) or a number of layers (12); several are nested")
      ->delimiter(',')
      ->type_name("N|A/B");
  command->add_option("--remove", options->remove, "Indexers to remove instead")
      ->delimiter(',')
      ->type_name("K");
  command->add_option("--pin-full", options->pin_full, "Layers that must stay F")
      ->delimiter(',')
      ->type_name("LAYER");
  CLI::Option* pp_size =
      command
          ->add_option("--pp-size", options->pp_size,
                       "Pipeline stages that vLLM or SGLang cuts evenly: the first layer of each "
                       "stays F")
          ->type_name("P");
  command
      ->add_option("--pp-partition", options->pp_partition,
                   "Layers of each pipeline stage, such as 20,20,21, where they are given to the "
                   "engine")
      ->delimiter(',')
      ->type_name("N")
      ->excludes(pp_size);
  command
      ->add_option(
          "--holdout", options->holdout,
          "What to verify on: a file, a share of the calibration sequences, 0 for none, or auto: "
          "the split of a prepared file, else 0.25")
      ->type_name("FILE|SHARE|auto")
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "Run folder; a run there is continued")
      ->type_name("DIR");
  command->add_flag("--restart", options->restart, "Discard what the run folder holds");
  add_common_options(*command, common);
  return {command, {"model", "calibration", "output"}, [options, &common] {
            return run_run(*options, common);
          }};
}

}  // namespace indexcache
