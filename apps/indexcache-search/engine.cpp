// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include "backend/devices/make_backend.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "settings.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

// Larger waves make a CPU no faster: its products run tile by tile.
constexpr std::int64_t kCpuWaveBytes = std::int64_t{512} << 20;

Precision parse_precision(const std::string& text) {
  if (text == "bf16") return Precision::bf16;
  return text == "fp8" ? Precision::fp8 : Precision::fp32;
}

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& common) {
  command.add_flag("--json", common.json, "Print one JSON document on stdout");
  command.add_flag("-q,--quiet", common.quiet, "No narration on stderr");
  add_settings_options(command);
}

void add_machine_options(CLI::App& command, int& threads, std::string& progress) {
  command.add_option("--threads", threads, "CPU threads, 0 for all; results do not depend on it")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command.add_option("--progress", progress, "auto, terminal, lines or none")
      ->check(CLI::IsMember({"auto", "terminal", "lines", "none"}))
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, EngineOptions& options) {
  command.add_option("model", options.model, "Hugging Face folder of the checkpoint")
      ->type_name("MODEL");
  command
      .add_option("--device", options.device,
                  "auto (a GPU if one is usable), cpu, cuda, or cuda:N for another GPU")
      ->capture_default_str();
  command
      .add_option("--precision", options.precision,
                  "Activations and weights: fp32 (no TF32) or, on a GPU, bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command
      .add_option("--indexer-precision", options.indexer_precision,
                  "Queries and keys of the indexer: fp32 or, on a GPU, bf16 or fp8 as deployed; "
                  "default: as --precision")
      ->check(CLI::IsMember({"fp32", "bf16", "fp8"}));
  command
      .add_option("--weights", options.weights,
                  "Where weights wait: resident on the device, stream from host memory layer by "
                  "layer, disk, or auto: the first that fits; results do not depend on it")
      ->check(CLI::IsMember({"auto", "resident", "stream", "disk"}))
      ->capture_default_str();
  command
      .add_option("--memory-limit", options.memory_limit,
                  "Most memory to take of the device, such as 24GiB; work is cut to fit, results "
                  "do not depend on it")
      ->type_name("SIZE");
  add_machine_options(command, options.threads, options.progress);
  command
      .add_option("--mla-norm-eps", options.mla_norm_eps,
                  "Epsilon of the q and kv latent norms; default from config.json: mla_norm_eps, "
                  "else rms_norm_eps")
      ->check(CLI::Range(1e-30, 1.0));
}

Progress::Style progress_style(const std::string& progress, const CommonOptions& common) {
  if (common.quiet || progress == "none") return Progress::Style::silent;
  if (progress == "terminal") return Progress::Style::terminal;
  if (progress == "lines") return Progress::Style::lines;
  return Progress::detect();
}

std::unique_ptr<Backend> make_backend(const EngineOptions& options) {
  const auto limit = parse_bytes(options.memory_limit);
  if (!limit && !options.memory_limit.empty()) {
    throw UsageError({fmt::format("--memory-limit {} is no size", options.memory_limit),
                      "--memory-limit", "", "a number with a unit: 24GiB, 800MiB or 80GB"});
  }
  const std::string& indexer =
      options.indexer_precision.empty() ? options.precision : options.indexer_precision;
  return make_backend({.device = parse_device(options.device),
                       .compute = parse_precision(options.precision),
                       .indexer = parse_precision(indexer),
                       .threads = options.threads,
                       .memory_limit = limit});
}

namespace {

std::unique_ptr<Backend> checked(const Model& model, std::unique_ptr<Backend> backend) {
  backend->check(model.config.shape());
  return backend;
}

}  // namespace

Placement placement_for(const EngineOptions& options, const WeightSizes& sizes,
                        const Backend& backend) {
  const std::int64_t room = backend.memory_bytes() - backend.uploader_bytes();
  Placement placement = choose_placement(sizes, room, available_host_bytes());
  if (options.weights == "resident") placement = Placement::resident;
  if (options.weights == "stream") placement = Placement::stream;
  if (options.weights == "disk") placement = Placement::disk;
  const std::int64_t needed = sizes.device(placement);
  if (needed < room) return placement;
  const std::int64_t least = sizes.device(Placement::disk);
  throw ResourceError({"the weights do not fit the device's memory",
                       options.memory_limit.empty() ? "--weights " + options.weights
                                                    : "--memory-limit " + options.memory_limit,
                       fmt::format("weights ({}) need {}, {} are there", name_of(placement),
                                   bytes_text(needed), bytes_text(room)),
                       least < room
                           ? "--weights stream, or auto"
                           : fmt::format("more than {} of memory{}", bytes_text(least),
                                         backend.is_gpu() && backend.activation() == DType::f32
                                             ? ", or --precision bf16, which takes half"
                                             : "")});
}

EvaluatorOptions sweep_memory(const Backend& backend, std::int64_t weight_bytes) {
  EvaluatorOptions options;
  options.memory_bytes = std::max<std::int64_t>(backend.memory_bytes() - weight_bytes, 0);
  options.enforce = true;
  if (!backend.is_gpu()) options.wave_bytes = kCpuWaveBytes;
  return options;
}

Engine::Engine(const Model& model, std::unique_ptr<Backend> backend, const EngineOptions& options)
    : model_(model),
      backend_(checked(model, std::move(backend))),
      weights_(model.config, model.checkpoint, model.has_indexer, *backend_,
               placement_for(options,
                             weight_sizes(model.config, model.checkpoint, model.has_indexer,
                                          backend_->activation()),
                             *backend_)) {}

EvaluatorOptions Engine::memory() const {
  return sweep_memory(*backend_, weights_.bytes());
}

Evaluator Engine::evaluator(const TokenSet& tokens, Progress& progress, std::string stage) {
  Evaluator evaluator(model_.config, weights_, *backend_, tokens, memory());
  evaluator.set_progress(
      [&progress, stage = std::move(stage)](std::size_t done, std::size_t total) {
        progress.update(stage, done, total);
      });
  return evaluator;
}

ModelSummary summarize(const Model& model) {
  const ModelConfig& config = model.config;
  return {.name = model.name,
          .architecture = config.architecture,
          .layers = static_cast<std::size_t>(config.layers),
          .mtp_layers = config.mtp_layers,
          .index_topk = config.index_topk,
          .index_heads = config.index_heads,
          .index_head_dim = config.index_head_dim,
          .has_indexer = model.has_indexer,
          .native_schedule = Pattern::from_full_layers(config.native_full).text(),
          .quantization =
              model.has_fp8 ? fmt::format("fp8 {}x{}", config.fp8_block_rows, config.fp8_block_cols)
                            : "none",
          .mla_norm_eps = std::stod(fmt::format("{}", config.mla_norm_eps)),
          .config_sha256 = model.config_sha256,
          .weights_layout_sha256 = model.checkpoint.layout_sha256(),
          .tokenizer_sha256 = model.tokenizer_sha256};
}

TokenSummary summarize(const TokenSet& tokens) {
  return {.source = std::filesystem::path(tokens.source).filename().string(),
          .sha256 = tokens.fingerprint(),
          .sequences = tokens.sequences.size(),
          .tokens = tokens.tokens(),
          .longest = tokens.longest()};
}

std::string loss_text(double loss) {
  return fmt::format("{:.5f}", loss);
}

std::string delta_text(double delta) {
  return fmt::format("{:+.5f}", delta);
}

}  // namespace indexcache
