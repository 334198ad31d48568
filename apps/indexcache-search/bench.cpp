// SPDX-License-Identifier: Apache-2.0
// bench: how fast the operations, a step of decoding and a search step are on this machine.
#include "bench.h"

#include "commands.h"
#include "core/bytes.h"
#include "core/console.h"
#include "core/error.h"
#include "core/thread_count.h"
#include "io/files.h"
#include "io/json_text.h"
#include "io/yaml.h"
#include "model/synthetic_weights.h"
#include "option_values.h"
#include "pattern_spec.h"
#include "prefill_load.h"
#include "run/targets.h"
#include "search/device_worker.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <random>

namespace indexcache {
namespace {

BenchShape read_synthetic(const std::string& path) {
  const Json document = parse_yaml(read_file(path), path);
  if (!document.is_object() || !document.contains("config")) {
    throw InputError({"the shape file has no key \"config\"", path,
                      "it must contain the keys of the model's config.json under `config:`",
                      "see configs/deepseek-v3.2.yaml"});
  }
  const Json share = document.value("share_layers", Json(true));
  if (!share.is_boolean()) {
    throw InputError({"share_layers is not true or false", path, "", "share_layers: true"});
  }
  ModelConfig config = parse_config(document["config"], path);
  const std::size_t letters = config.letters();
  return {.model = std::nullopt,
          .config = std::move(config),
          .share_layers = share.get<bool>(),
          .has_indexer = std::vector<bool>(letters, true),
          .name = std::filesystem::path(path).stem().string() + " (synthetic)"};
}

void check_room(const BenchShape& shape, const Device& backend, const std::string& path) {
  const std::int64_t needed =
      SyntheticWeights::bytes_of(shape.config, backend.weight_types(), shape.share_layers);
  if (needed <= backend.memory_bytes()) return;
  throw ResourceError({"the model's weights do not fit on the device", path,
                       fmt::format("they take {:.1f} GiB in {}; {:.1f} GiB are free", gib(needed),
                                   backend.keeps_fp8() ? "FP8" : name_of(backend.activation()),
                                   gib(backend.memory_bytes())),
                       shape.share_layers
                           ? "--precision bf16, or a larger GPU"
                           : "share_layers: true in that file, or --precision bf16"});
}

// Attention over compressed keys has a forward pass of whole sequences only, and no dense form.
void require_positions(const BenchOptions& options, const ModelConfig& config) {
  const bool dense = std::ranges::find(options.only, "dense") != options.only.end();
  if (!config.compressed || !(options.kind == "decode" || config.dense || dense)) return;
  throw UsageError(
      {fmt::format("bench {} does not time this for {}", options.kind, config.family->title),
       config.dense ? "--indexer none"
       : dense      ? "--only dense"
                    : options.kind,
       "its attention reads compressed entries, not every position",
       "bench ops, bench search, or profile, by the exact indexer"});
}

int run_bench(const BenchOptions& options, const CommonOptions& common) {
  BenchShape shape = read_shape(options);
  if (options.kind == "search") parse_keep(options.keep, shape.has_indexer.size());
  require_positions(options, shape.config);
  Progress progress(progress_style(options.progress, common));
  BenchModel model(std::move(shape), options, progress);
  if (options.kind == "ops" && options.under_load) require_resident(model);
  if (!common.json) write_output("{}, {}\n", model.name(), model.kinds());
  Json document{{"schema", "indexcache-bench/2"}, {"version", kToolVersion},
                {"kind", options.kind},           {"model", model.name()},
                {"device", model.kinds()},        {"repeat", options.repeat}};
  if (options.kind == "ops") {
    document["under_load"] = options.under_load;
    document["ops"] = bench_ops(model, options, common.json);
  }
  if (options.kind == "decode") document["decode"] = bench_decode(model, options, common.json);
  if (options.kind == "search") document["search"] = bench_search(model, options, common.json);
  if (common.json) write_output("{}\n", json_text(document, 1));
  return 0;
}

}  // namespace

BenchShape read_shape(BenchOptions options) {
  if (options.device.model.empty() == options.synthetic.empty()) {
    throw UsageError({"times need one model", "command line",
                      "either MODEL or --synthetic configs/NAME.yaml",
                      fmt::format("indexcache-search {} --help",
                                  options.kind == "profile" ? "profile" : "bench")});
  }
  const bool dense =
      options.device.indexer == kNoIndexer && (options.kind == "ops" || options.kind == "profile");
  if (dense) options.device.indexer = indexer_text(std::nullopt);
  if (!options.synthetic.empty()) {
    BenchShape shape = read_synthetic(options.synthetic);
    shape.config.indexer = indexer_of(options.device, shape.config);
    shape.config.dense = dense;
    return shape;
  }
  Model model = open_model(options.device);
  model.config.dense = dense;
  BenchShape shape{.model = std::nullopt,
                   .config = model.config,
                   .share_layers = false,
                   .has_indexer = model.has_indexer,
                   .name = model.name};
  shape.model.emplace(std::move(model));
  return shape;
}

BenchModel::BenchModel(BenchShape shape, const BenchOptions& options, Progress& progress)
    : shape_(std::move(shape)), threads_(options.device.threads) {
  if (options.kind == "search") {
    for (auto& backend : make_backends(options.device)) {
      devices_.push_back({std::move(backend), nullptr});
    }
  } else {
    devices_.push_back({make_backend(options.device), nullptr});
  }
  backend().check(shape_.config.shape());
  if (shape_.model) {
    note_of_weights(*shape_.model, backend(), progress);
    load(options);
  } else {
    make_synthetic(options);
  }
}

std::string BenchModel::kinds() const {
  std::vector<std::string> names;
  for (const BenchDevice& device : devices_) names.push_back(device.backend->name());
  return kinds_of(names);
}

void BenchModel::load(const BenchOptions& options) {
  const Checkpoint& checkpoint = shape_.model->checkpoint;
  const WeightSizes sizes =
      weight_sizes(shape_.config, checkpoint, shape_.has_indexer, backend().weight_types());
  placement_ = placement_for(options.device, sizes, backend());
  stored_bytes_ = sizes.stored;
  const auto stored = std::make_shared<StoredLayers>(checkpoint, sizes, shape_.config.layers,
                                                     placement_, devices_.size());
  for (BenchDevice& device : devices_) {
    auto weights = std::make_unique<ModelWeights>(shape_.config, checkpoint, shape_.has_indexer,
                                                  *device.backend, stored);
    weight_bytes_ = weights->bytes();
    device.weights = std::move(weights);
  }
}

void BenchModel::make_synthetic(const BenchOptions& options) {
  for (BenchDevice& device : devices_) {
    check_room(shape_, *device.backend, options.synthetic);
    auto weights =
        std::make_unique<SyntheticWeights>(shape_.config, *device.backend, shape_.share_layers);
    weight_bytes_ = weights->bytes();
    device.weights = std::move(weights);
  }
}

SpreadEvaluator BenchModel::evaluator(const TokenSet& tokens, std::size_t devices, SpreadUse& use) {
  std::vector<std::unique_ptr<SweepWorker>> workers;
  for (std::size_t d = 0; d < devices; ++d) {
    BenchDevice& device = devices_[d];
    const std::string name = fmt::format("device {}", d);
    use.workers.push_back({name});
    workers.push_back(std::make_unique<DeviceWorker>(
        name, *device.backend,
        SweepEvaluator(shape_.config, *device.weights, *device.backend, tokens, memory())));
  }
  const auto costs = [this](std::int64_t length) {
    return estimated_costs(shape_.config, std::span(&length, 1), backend(), placement_,
                           thread_count(threads_));
  };
  const double pass_seconds = placement_ == Placement::resident
                                  ? 0
                                  : costs(1).stream_byte * static_cast<double>(stored_bytes_);
  return {std::move(workers),
          SweepPlanner(shape_.config, backend(), tokens, memory()),
          {costs, pass_seconds},
          tokens.predicted(),
          use};
}

Pattern BenchModel::pattern(const std::string& spec) const {
  if (config().dense) return baseline();  // it is not looked at
  return parse_pattern_spec(spec, shape_.has_indexer, shape_.config.layer_numbers());
}

Json BenchModel::memory_report(std::int64_t sweep_bytes, bool json) const {
  const std::int64_t peak = devices_.front().backend->memory_use().peak_total;
  if (peak == 0) return nullptr;
  const std::int64_t planned = weight_bytes_ + sweep_bytes;
  if (!json) {
    write_output("  memory: {:.2f} GiB planned, {:.2f} GiB at the peak\n", gib(planned), gib(peak));
  }
  return {{"planned_bytes", planned}, {"peak_bytes", peak}};
}

double median_seconds(Backend& backend, int repeat, const std::function<void()>& body,
                      const std::function<void()>& before) {
  backend.measure(body);
  std::vector<double> seconds;
  for (int i = 0; i < repeat; ++i) {
    before();
    seconds.push_back(backend.measure(body));
  }
  std::ranges::nth_element(seconds, seconds.begin() + repeat / 2);
  return seconds[static_cast<std::size_t>(repeat / 2)];
}

ComponentSeconds median_components(Backend& backend, int repeat, const std::function<void()>& body,
                                   const std::function<void()>& before) {
  body();
  std::array<std::vector<double>, kComponents> runs;
  for (int i = 0; i < repeat; ++i) {
    before();
    backend.start_profile();
    body();
    const ComponentSeconds seconds = backend.take_profile().seconds;
    for (std::size_t s = 0; s < kComponents; ++s) runs[s].push_back(seconds[s]);
  }
  ComponentSeconds medians{};
  for (std::size_t s = 0; s < kComponents; ++s) {
    std::ranges::nth_element(runs[s], runs[s].begin() + repeat / 2);
    medians[s] = runs[s][static_cast<std::size_t>(repeat / 2)];
  }
  return medians;
}

void check_context(const ModelConfig& config, std::int64_t length) {
  const std::int64_t least = config.dense ? 1 : config.first_selecting_position();
  if (length > least && length <= config.max_positions) return;
  throw UsageError({fmt::format("cannot time a context of {} tokens", length), "--context",
                    fmt::format("the model selects {} of up to {} positions", config.index_topk,
                                config.max_positions),
                    "a length above the first number and at most the second"});
}

TokenSet random_tokens(const ModelConfig& config, std::int64_t sequences, std::int64_t length) {
  check_context(config, length);
  std::mt19937_64 engine(7);
  TokenSet tokens{"random tokens", {}};
  for (std::int64_t s = 0; s < sequences; ++s) {
    std::vector<std::int32_t> ids;
    for (std::int64_t t = 0; t < length; ++t) {
      ids.push_back(
          static_cast<std::int32_t>(engine() % static_cast<std::uint64_t>(config.vocabulary)));
    }
    tokens.sequences.push_back(std::move(ids));
  }
  return tokens;
}

void add_synthetic_option(CLI::App& command, BenchOptions& options) {
  command
      .add_option("--synthetic", options.synthetic,
                  "Use random weights of the shape in this file instead of MODEL")
      ->type_name("FILE");
}

namespace {

void add_bench_options(CLI::App& command, BenchOptions& options) {
  const OptionGroup group(command, "Benchmark");
  command
      .add_option("-c,--calibration", options.calibration,
                  "search: token ids to use instead of random ones (.h5, .npy, or .jsonl with "
                  "input_ids)")
      ->type_name("FILE");
  add_synthetic_option(command, options);
  in_range(command
               .add_option("--context", options.contexts,
                           "Number of tokens per sequence; ops and decode accept several values")
               ->delimiter(','),
           "N", 2, 1 << 24)
      ->capture_default_str();
  in_range(command.add_option("--rows", options.rows, "ops: time only the last N queries (0: all)"),
           "N", 0, 1 << 24)
      ->capture_default_str();
  one_of(command.add_option("--only", options.only, "ops: time only these groups of operations")
             ->delimiter(','),
         {"ceilings", "products", "selection", "attention", "dense", "rows", "experts", "loss",
          "overlap"});
  in_range(command.add_option("--shared", options.shared,
                              "ops: sets of attention share P percent with the query before (0: "
                              "sets of random scores)"),
           "P", 0, 100)
      ->capture_default_str();
  command.add_flag("--under-load", options.under_load,
                   "ops: compute some layers before every run, so that the clock of the device is "
                   "that of a long prefill");
  command
      .add_option("--pattern", options.patterns,
                  "decode: pattern to measure, as for eval; may be repeated")
      ->type_name("PATTERN")
      ->capture_default_str();
  in_range(command
               .add_option("--batch", options.batches,
                           "decode: number of sequences that get a token; accepts several values")
               ->delimiter(','),
           "N", 1, 1 << 16)
      ->capture_default_str();
  add_named_values<PageLayout>(
      command, "--kv-cache", options.kv_cache,
      {{"plain", PageLayout::plain}, {"fp8", PageLayout::latent_fp8}},
      "decode: latents in pages, in the type of activations or in FP8 (656 bytes per token)");
  command.add_option("--keep", options.keep, "search: target to which the time is projected")
      ->type_name("N|A/B")
      ->capture_default_str();
  in_range(command.add_option("--sequences", options.sequences,
                              "search: number of sequences without --calibration"),
           "N", 1, 1 << 20)
      ->capture_default_str();
  command.add_flag("--whole", options.whole,
                   "search: run all steps instead of projecting from the first one");
  in_range(
      command.add_option("--repeat", options.repeat, "Number of runs (the median is reported)"),
      "N", 1, 1000)
      ->capture_default_str();
}

}  // namespace

Command add_bench(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand(
      "bench",
      "Measure the time of operations, of a step of decoding or of a search on this machine");
  {
    const OptionGroup group(*command, "Benchmark");
    one_of(command->add_option("kind", options->kind, "What to measure"),
           {"ops", "decode", "search"});
  }
  add_device_options(*command, options->device, options->progress);
  add_indexer_option(*command, options->device,
                     "search: how tokens are selected, exact or hisa; "
                     "hisa:block=128,blocks=64 states the size of a block of keys and how many are "
                     "chosen, also for ops, which times HISA next to the exact indexer; none, of "
                     "ops: attention to all earlier tokens, in place of what selects",
                     IndexerChoice::with_none);
  add_bench_options(*command, *options);
  add_common_options(*command, common);
  return {command,
          {"kind"},
          {{"every operation at the shapes of GLM-5",
            "bench ops --synthetic configs/glm-5.yaml --precision bf16"},
           {"what a pattern saves for every token after a prompt",
            "bench decode MODEL --precision fp8 --context 60000,200000 --batch 1,8,32"}},
          [options, &common] { return run_bench(*options, common); }};
}

}  // namespace indexcache
