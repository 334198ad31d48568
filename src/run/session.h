// SPDX-License-Identifier: Apache-2.0
// A device with a model's weights: what every measuring command works with.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/progress.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "search/sweep_evaluator.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct DeviceOptions {
  std::string model;  // folder of the checkpoint
  std::string device = "auto";
  std::string precision = "fp32";
  std::string indexer_precision;  // empty: as precision
  std::optional<double> mla_norm_eps;
  std::string weights = "auto";
  std::string memory_limit;  // "24GiB"; empty: what the device has
  int threads = 0;           // of the CPU; 0: all
};

// The device that --device and the precisions name, before anything else is read. Throws UsageError
// for what no device can do, ResourceError if there is no GPU to use.
std::unique_ptr<Backend> make_backend(const DeviceOptions& options);

// Says what makes the device slower than others, if anything does.
void note_of_device(const Device& device, Progress& progress);

// Shows what of the model is ignored although it might matter, and keeps it in `warnings`.
void warn_of_model(const Model& model, Progress& progress, std::vector<std::string>& warnings);

// Where weights wait: as --weights says, else what fits first. Throws ResourceError naming the
// setting to change if the device cannot hold them that way.
Placement placement_for(const DeviceOptions& options, const WeightSizes& sizes,
                        const Device& backend);

// What sweeps may hold in addition to weights of that many bytes.
SweepMemory sweep_memory(const Device& backend, std::int64_t weight_bytes);

// Bytes on the device of so many trained indexers, without what training them takes.
std::int64_t indexer_bytes(const ModelConfig& config, const Device& backend, std::size_t count);

class Session {
 public:
  // `options` says where weights wait; its other fields have served make_backend. Throws
  // ResourceError if the device is too small for any layer. `model` must outlive the session.
  Session(const Model& model, std::unique_ptr<Backend> backend, const DeviceOptions& options);

  Backend& backend() { return *backend_; }
  std::int64_t weight_bytes() const { return weights_.bytes(); }
  WeightSource& weights() { return weights_; }

  // An evaluator of `tokens`, which must outlive it.
  SweepEvaluator evaluator(const TokenSet& tokens, SweepGoal goal = {});
  // The same with other weights of the same model, and less memory for the sweep.
  SweepEvaluator evaluator(const TokenSet& tokens, WeightSource& weights, std::int64_t taken_bytes);
  // The first; `label` names the work in progress lines.
  SweepEvaluator evaluator(const TokenSet& tokens, Progress& progress, std::string label);

 private:
  const Model& model_;
  std::unique_ptr<Backend> backend_;
  ModelWeights weights_;
};

}  // namespace indexcache
