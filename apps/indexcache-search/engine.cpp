// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "settings.h"

#include <fmt/format.h>

#include <unistd.h>

namespace indexcache {
namespace {

// Half of the machine's memory may hold weights; the rest is for activations and the page cache.
std::int64_t resident_bytes() {
  return std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE) / 2;
}

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& common) {
  command.add_flag("--json", common.json, "Print one JSON document on stdout");
  command.add_flag("-q,--quiet", common.quiet, "No narration on stderr");
  add_settings_options(command);
}

void add_engine_options(CLI::App& command, EngineOptions& options) {
  command.add_option("model", options.model, "Hugging Face folder of the checkpoint")
      ->type_name("MODEL");
  command
      .add_option("-c,--calibration", options.calibration,
                  "Token sequences: .h5 with /tokens, or .jsonl with input_ids")
      ->type_name("FILE");
  command.add_option("--device", options.device, "cpu, cuda or auto")->capture_default_str();
  command
      .add_option("--threads", options.threads,
                  "CPU threads, 0 for all; results do not depend on it")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command
      .add_option("--mla-norm-eps", options.mla_norm_eps,
                  "Epsilon of the q and kv latent norms; default from config.json: mla_norm_eps, "
                  "else rms_norm_eps")
      ->check(CLI::Range(1e-30, 1.0));
  command.add_option("--progress", options.progress, "auto, terminal, lines or none")
      ->check(CLI::IsMember({"auto", "terminal", "lines", "none"}))
      ->capture_default_str();
}

Progress::Style progress_style(const EngineOptions& options, const CommonOptions& common) {
  if (common.quiet || options.progress == "none") return Progress::Style::silent;
  if (options.progress == "terminal") return Progress::Style::terminal;
  if (options.progress == "lines") return Progress::Style::lines;
  return Progress::detect();
}

TokenLimits token_limits(const ModelConfig& config) {
  return {config.vocabulary, config.max_positions, config.index_topk};
}

TokenSet load_tokens(const std::string& path, const ModelConfig& config, Progress& progress,
                     std::vector<std::string>& warnings) {
  TokenSet tokens = read_tokens(path);
  for (const std::string& warning : check_tokens(tokens, token_limits(config))) {
    progress.note("warning: " + path + ": " + warning);
    warnings.push_back(std::filesystem::path(path).filename().string() + ": " + warning);
  }
  return tokens;
}

void check_device(const std::string& device) {
  if (device == "cpu" || device == "auto") return;
  const bool cuda = device == "cuda";
  throw UsageError({cuda ? "this build has no CUDA engine" : "unknown device " + device,
                    "--device " + device, "", "--device cpu, or auto"});
}

Engine::Engine(const Model& model, const EngineOptions& options)
    : model_(model),
      backend_(std::make_unique<CpuBackend>(options.threads)),
      weights_(model.config, model.checkpoint, model.has_indexer, *backend_, resident_bytes()) {}

Evaluator Engine::evaluator(const TokenSet& tokens, Progress& progress, std::string stage) {
  Evaluator evaluator(model_, weights_, *backend_, tokens);
  evaluator.set_progress(
      [&progress, stage = std::move(stage)](std::size_t done, std::size_t total) {
        progress.update(stage, done, total);
      });
  return evaluator;
}

ModelSummary summarise(const Model& model) {
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

TokenSummary summarise(const TokenSet& tokens) {
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
