// SPDX-License-Identifier: Apache-2.0
// overlap: how much the layers' top-k sets agree.
#include "along_queries.h"
#include "calibration_options.h"
#include "commands.h"
#include "core/console.h"
#include "core/error.h"
#include "device_options.h"
#include "indexer_overlap_text.h"
#include "io/files.h"
#include "io/json_text.h"
#include "io/png.h"
#include "option_values.h"
#include "overlap_models.h"
#include "present/heatmap.h"
#include "result/drift.h"
#include "result/overlap_file.h"
#include "result/result_json.h"
#include "run/folder.h"
#include "run/provenance.h"
#include "run/rank_service.h"
#include "search/overlap_pass.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <filesystem>
#include <initializer_list>

namespace indexcache {
namespace {

constexpr std::initializer_list<const char*> kOverlapFiles = {"overlap.h5"};

struct OverlapOptions {
  DeviceOptions device;
  std::string progress = "auto";
  CalibrationOptions calibration;
  std::string output;
  std::string against;
  OtherModel other;
  bool along_queries = false;
};

// The run that the new overlap is compared with.
struct StoredRun {
  std::filesystem::path folder;
  Result result;
  StoredOverlap overlap;

  const Pattern& pattern() const { return result.targets.back().calibration.pattern; }
};

// Throws InputError for a folder without a finished run, or one of another model or other numerics.
StoredRun read_run(const std::filesystem::path& folder, const Model& model) {
  const auto fail = [&](const std::string& why) {
    throw InputError({"cannot compare with this run", folder.string(), why,
                      "--against with the folder of a finished run of this model"});
  };
  if (!std::filesystem::exists(folder / "run.json")) fail("it contains no finished run");
  StoredRun stored{folder, read_result(folder), read_overlap(folder / "overlap.h5")};
  if (stored.overlap.model_config_sha256 != model.config_sha256)
    fail("it belongs to a different model");
  if (const auto version = stored.result.provenance.numerics_version; version != kNumericsVersion) {
    fail(
        fmt::format("it was measured with numerics version {}, and this program has version {}: "
                    "differences could come from the program",
                    version, kNumericsVersion));
  }
  check_fits(stored.pattern(), model.has_indexer, folder.string());
  check_fits(stored.result.baseline, model.has_indexer, folder.string());
  if (stored.overlap.overlap.layers != model.has_indexer.size()) {
    fail("its overlap.h5 belongs to a different model");
  }
  return stored;
}

Drift measured_drift(const StoredRun& stored, const Overlap& now, const TokenSet& tokens) {
  Drift drift = compare_overlap(stored.pattern(), stored.overlap.overlap, now);
  drift.tool_version = kToolVersion;
  drift.numerics_version = kNumericsVersion;
  drift.run = stored.folder.string();
  drift.stored_tokens_sha256 = stored.overlap.tokens_sha256;
  drift.tokens = summarize(tokens);
  return drift;
}

Json overlap_document(const Overlap& overlap, double loss, const std::string& output) {
  Json document{{"layers", overlap.layers},
                {"index_topk", overlap.index_topk},
                {"baseline_loss", loss},
                {"overlap", Json::array()},
                {"adjacent", overlap.adjacent()},
                {"query_step", overlap.query_step},
                {"blocks", Json::array()},
                {"by_position", Json::array()},
                {"files", {output + "/overlap.h5", output + "/heatmap.png"}}};
  for (std::size_t i = 0; i < overlap.layers; ++i) {
    Json row = Json::array();
    for (std::size_t j = 0; j < overlap.layers; ++j) row.push_back(overlap.mean(i, j));
    document["overlap"].push_back(row);
  }
  for (const OverlapBlock& block : find_blocks(overlap)) {
    document["blocks"].push_back({block.first, block.last});
  }
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    Json adjacent = Json::array();
    for (std::size_t l = 0; l + 1 < overlap.layers; ++l) {
      adjacent.push_back(overlap.mean(l, l + 1, b));
    }
    document["by_position"].push_back(
        {{"end", overlap.bucket_ends[b]}, {"queries", overlap.queries[b]}, {"adjacent", adjacent}});
  }
  return document;
}

double average(const Json& values) {
  double sum = 0;
  for (const Json& value : values) sum += value.get<double>();
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// `more`: tables after that of the layers.
void print_text(const Json& document, const Overlap& overlap, const LayerNumbers& numbers,
                const std::string& more) {
  write_output("overlap of top-{} sets between neighboring layers\n", overlap.index_topk);
  const auto adjacent = overlap.adjacent();
  for (std::size_t l = 0; l < adjacent.size(); ++l) {
    const auto bar = static_cast<std::size_t>(std::lround(adjacent[l] * 50));
    write_output("{:>3} {:>3}  {:.3f}  {}\n", numbers.of(l), numbers.of(l + 1), adjacent[l],
                 std::string(bar, '#'));
  }
  std::vector<std::string> blocks;
  for (const OverlapBlock& block : find_blocks(overlap)) {
    blocks.push_back(fmt::format("{}-{}", numbers.of(block.first), numbers.of(block.last)));
  }
  write_output("blocks       {}\n",
               blocks.empty() ? "none" : fmt::format("{}", fmt::join(blocks, ", ")));
  for (const Json& bucket : document["by_position"]) {
    write_output("below {:>6}  neighbors {:.3f} on average, {} queries\n", bucket["end"].get<int>(),
                 average(bucket["adjacent"]), bucket["queries"].get<std::int64_t>());
  }
  write_output("{}", more);
  for (const Json& file : document["files"]) write_output("{}\n", file.get<std::string>());
}

void warn_of_other_device(const StoredRun& stored, const std::string& device, Progress& progress,
                          std::vector<std::string>& warnings) {
  const std::string& of_run = stored.result.provenance.device;
  if (of_run == device) return;
  warn(progress, warnings,
       fmt::format("the run was measured on \"{}\" and this overlap on \"{}\": differences could "
                   "come from the device or the precision",
                   of_run, device));
}

// What is measured besides the overlap of layers.
struct Comparisons {
  std::optional<QueryOverlap> along;
  std::optional<IndexerOverlap> indexers;

  OverlapExtras extras() { return {along ? &*along : nullptr, indexers ? &*indexers : nullptr}; }

  // Returns their tables.
  std::string add_to(Json& document, const LayerNumbers& numbers) const {
    std::string tables;
    if (along) {
      document["along_queries"] = along_queries_document(*along);
      tables += "\n" + along_queries_table(*along, numbers) + "\n";
    }
    if (indexers) {
      document["indexer"] = indexer_overlap_document(*indexers);
      tables += "\n" + indexer_overlap_table(*indexers) + "\n";
    }
    return tables;
  }
};

Comparisons prepare_comparisons(const OverlapOptions& options, const IndexerMethod& compared,
                                const Model& model, const TokenSet& tokens,
                                const Pattern& pattern) {
  Comparisons more;
  if (options.along_queries) more.along = prepare_query_overlap(model.config, tokens, pattern);
  if (compared) {
    more.indexers = prepare_indexer_overlap(model.config, tokens, pattern, *compared);
  }
  return more;
}

void require_exact_in_force(const IndexerMethod& compared, const IndexerMethod& in_force,
                            const std::string& run) {
  if (!compared || !in_force) return;
  throw UsageError({"an indexer is compared with the exact one", "--indexer and --against",
                    fmt::format("the run {} was measured by {}", run, indexer_text(in_force)),
                    "only one of them"});
}

// Two models have nothing else to be compared with.
void require_only_models(const OverlapOptions& options) {
  const bool other = !options.against.empty() || options.along_queries ||
                     options.device.indexer != indexer_text(std::nullopt);
  if (!other) return;
  throw UsageError({"two models are compared by themselves", "--against-model",
                    "--against, --along-queries and --indexer are other comparisons",
                    "a command for each of them"});
}

int compare_two_models(const OverlapOptions& options, CommonOptions& common) {
  require_only_models(options);
  return overlap_models(options.device, options.other, options.calibration, options.output,
                        options.progress, common);
}

void require_no_run(const std::string& folder) {
  if (!std::filesystem::exists(std::filesystem::path(folder) / "journal.jsonl")) return;
  throw InputError({"the output folder cannot be used", folder,
                    "it contains a run, whose overlap.h5 would be overwritten",
                    "choose another --output"});
}

// What the other files of the command line say, before documents are read: the run to compare with,
// if there is one.
std::optional<StoredRun> check_files(const OverlapOptions& options, const Model& model,
                                     const IndexerMethod& compared) {
  require_no_run(options.output);
  check_folder(options.output, kOverlapFiles);
  if (options.against.empty()) return std::nullopt;
  StoredRun stored = read_run(options.against, model);
  require_exact_in_force(compared, stored.result.model.indexer, options.against);
  return stored;
}

int run_overlap(const OverlapOptions& options, CommonOptions& common) {
  if (options.other.is_given()) return compare_two_models(options, common);
  Ranks& ranks = common.join_ranks();
  Backends backends = make_backends(options.device);
  Progress progress(progress_style(options.progress, common, ranks));
  note_of_device(*backends.front(), progress);
  const IndexerMethod compared = parse_indexer(options.device.indexer);
  const Model model = open_model(options.device.model, options.device.mla_norm_eps);
  check_indexer(compared, model.config);
  std::vector<std::string> warnings;
  note_of_weights(model, *backends.front(), progress);
  warn_of_model(model, progress, warnings);
  const bool first_rank = !ranks.computes_for_others();
  const std::optional<StoredRun> stored =
      first_rank ? check_files(options, model, compared) : std::nullopt;
  if (stored) warn_of_other_device(*stored, kinds_of(backends), progress, warnings);
  const TokenSet tokens = CalibrationLoader(options.calibration, model, options.device.model,
                                            options.device.threads, progress, warnings)
                              .whole(options.calibration.prepare.inputs);
  if (!first_rank) {
    return serve_tokens(model, tokens, std::move(backends), options.device, ranks);
  }
  const Pattern pattern = stored ? stored->result.baseline : model.baseline();
  // A run's own indexer is in force when it is compared with.
  const IndexerMethod in_force = stored ? stored->result.model.indexer : std::nullopt;
  Comparisons more = prepare_comparisons(options, compared, model, tokens, pattern);
  if (compared) warn_of_reach(*compared, tokens, progress, warnings);
  prepare_folder(options.output, kOverlapFiles);
  Session session(model, std::move(backends), options.device);
  admit_to(session, model, tokens, ranks);
  warn_of_kinds(session.kinds(), progress, warnings);
  SpreadEvaluator evaluator = session.evaluator(tokens, progress, "measuring overlap", in_force);
  const OverlapPass pass = evaluator.measure_overlap(pattern, more.extras());
  const std::filesystem::path folder = options.output;
  write_overlap(folder / "overlap.h5", pass.overlap, summarize(model), summarize(tokens),
                more.extras().along_queries);
  write_png(folder / "heatmap.png",
            draw_heatmap(pass.overlap, model.name, model.config.layer_numbers()));
  Json document = overlap_document(pass.overlap, evaluator.mean(pass.losses), options.output);
  std::string tables = more.add_to(document, model.config.layer_numbers());
  if (stored) {
    const Drift drift = measured_drift(*stored, pass.overlap, tokens);
    tables += "\n" + drift_table(drift, model.config.layer_numbers()) + "\n";
    document["drift"] = to_json(drift);
    document["files"].push_back(options.output + "/drift.json");
    write_file(folder / "drift.json", json_text(document["drift"], 1) + "\n");
  }
  document["warnings"] = warnings;
  progress.clear();
  if (common.json) {
    write_output("{}\n", json_text(document, 1));
  } else {
    print_text(document, pass.overlap, model.config.layer_numbers(), tables);
  }
  return 0;
}

}  // namespace

Command add_overlap(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<OverlapOptions>();
  CLI::App* command = app.add_subcommand(
      "overlap", "Measure how much the top-k sets of layers overlap, or how a pattern has drifted");
  add_device_options(*command, options->device, options->progress);
  add_indexer_option(*command, options->device,
                     "Indexer to compare with the exact one, layer by layer: hisa, or "
                     "hisa:block=128,blocks=64 with the size of a block of keys and how many a "
                     "query chooses; exact compares nothing");
  add_calibration_options(*command, options->calibration);
  {
    const OptionGroup group(*command, "Output");
    command
        ->add_option("--against", options->against,
                     "Finished run to compare with: measures how much its shared layers still "
                     "agree with their donors, and writes drift.json")
        ->type_name("RUN");
    command
        ->add_option("--against-model", options->other.model,
                     "Other checkpoint of the same shape: measures how much of what each layer of "
                     "MODEL selects it selects too, names the queries that share least, and writes "
                     "model-overlap.json")
        ->type_name("DIR");
    one_of(command->add_option("--against-precision", options->other.precision,
                               "Precision of the other checkpoint, or of MODEL once more without "
                               "--against-model (default: as --precision)"),
           {"fp32", "bf16", "fp8"});
    one_of(command->add_option("--against-indexer-precision", options->other.indexer_precision,
                               "The same for the indexer (default: as --indexer-precision)"),
           {"fp32", "bf16", "fp8", "fp4"});
    command->add_flag("--along-queries", options->along_queries,
                      "Also measure, in each layer with an indexer, how much the sets of "
                      "neighboring queries overlap, and the size of their unions");
    command
        ->add_option("-o,--output", options->output,
                     "Folder for overlap.h5 and heatmap.png, or for model-overlap.json")
        ->type_name("DIR");
  }
  add_common_options(*command, common);
  return {command,
          {"model", "calibration", "output"},
          {{"check a deployed pattern on this week's traffic",
            "overlap MODEL -c week.jsonl --seq-len 32768 --against run -o drift"},
           {"find the layers and positions where fine-tuning changed what is selected",
            "overlap MODEL -c week.jsonl --seq-len 32768 --against-model TUNED -o models"},
           {"see whether a kernel can share the keys of neighboring queries",
            "overlap MODEL -c week.jsonl --seq-len 32768 --along-queries -o along"},
           {"see what HISA selects differently, before it is turned on",
            "overlap MODEL -c week.jsonl --seq-len 131072 --indexer hisa -o hisa"}},
          [options, &common] { return run_overlap(*options, common); }};
}

}  // namespace indexcache
