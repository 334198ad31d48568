// SPDX-License-Identifier: Apache-2.0
// What every measuring command needs: a model, a device, weights.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "commands.h"
#include "core/progress.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "result/run_record.h"
#include "search/evaluator.h"

#include <CLI/CLI.hpp>

#include <memory>
#include <optional>
#include <string>

namespace indexcache {

struct EngineOptions {
  std::string model;
  std::string device = "auto";
  std::string precision = "fp32";
  std::string indexer_precision;  // empty: as precision
  std::optional<double> mla_norm_eps;
  std::string weights = "auto";
  std::string memory_limit;  // "24GiB"; empty: what the device has
  int threads = 0;
  std::string progress = "auto";
};

// "model", --device, --threads, --mla-norm-eps, --progress.
void add_engine_options(CLI::App& command, EngineOptions& options);

// --threads and --progress.
void add_machine_options(CLI::App& command, int& threads, std::string& progress);

// Only --json, --quiet and the settings options.
void add_common_options(CLI::App& command, CommonOptions& common);

// `progress` is the value of --progress.
Progress::Style progress_style(const std::string& progress, const CommonOptions& common);

// A device that --device and the precisions name, before anything else is read. Throws UsageError
// for what no device can do, ResourceError where there is no GPU to use.
std::unique_ptr<Backend> make_backend(const EngineOptions& options);

// Where weights wait: as --weights says, else what fits first. Throws ResourceError naming the
// setting to change where the device cannot hold them that way.
Placement placement_for(const EngineOptions& options, const WeightSizes& sizes,
                        const Backend& backend);

// What sweeps may hold beside weights of that size.
EvaluatorOptions sweep_memory(const Backend& backend, std::int64_t weight_bytes);

// A device with a model's weights; measures token sets.
class Engine {
 public:
  // `options` says where weights wait; its other fields have served make_backend. Throws
  // ResourceError where the device is too small for any layer.
  Engine(const Model& model, std::unique_ptr<Backend> backend, const EngineOptions& options);

  Backend& backend() { return *backend_; }

  std::int64_t weight_bytes() const { return weights_.bytes(); }
  EvaluatorOptions memory() const;

  // `stage` names what is being done, for the progress line.
  Evaluator evaluator(const TokenSet& tokens, Progress& progress, std::string stage);

 private:
  const Model& model_;
  std::unique_ptr<Backend> backend_;
  ModelWeights weights_;
};

ModelSummary summarize(const Model& model);
TokenSummary summarize(const TokenSet& tokens);

// "1.7974", "+0.0289", "[+0.0221, +0.0357]".
std::string loss_text(double loss);
std::string delta_text(double delta);

}  // namespace indexcache
