// SPDX-License-Identifier: Apache-2.0
// Devices with a model's weights: what every measuring command works with.
#pragma once

#include "backend/devices/make_backend.h"
#include "calibration/token_set.h"
#include "core/progress.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "model/stored_indexer.h"
#include "ranks/ranks.h"
#include "search/spread_evaluator.h"
#include "search/sweep_evaluator.h"

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

struct DeviceOptions {
  std::string model;  // folder of the checkpoint
  std::string device = "auto";
  std::string precision = "fp32";
  std::string indexer_precision;  // empty: as precision
  std::optional<double> mla_norm_eps;
  std::string indexer = "exact";  // as parse_indexer reads it
  std::string weights = "auto";
  std::string memory_limit;  // "24GiB", of each device; empty: what the device has
  int gpus = 0;              // at most so many; 0: all that device names
  bool mixed = false;        // devices may be of different kinds
  int threads = 0;           // of the CPU; 0: all
  std::optional<std::int64_t> host_bytes = {};  // that weights may use; none: what is free here
};

// The devices that --device, --gpus and the precisions name, before anything else is read. Throws
// UsageError for what no device can do and, unless options.mixed, for devices of different kinds;
// ResourceError if there is no GPU to use.
Backends make_backends(const DeviceOptions& options);
// The first of them.
std::unique_ptr<Backend> make_backend(const DeviceOptions& options);

// For messages and records: "GPU 0".
std::vector<std::string> device_names(const Backends& backends);

// Opens the model with the settings of these options that change its forward pass. Throws what
// open_model, parse_indexer and check_fits throw.
Model open_model(const DeviceOptions& options);
// What options.indexer names, for a model that selects so many tokens.
IndexerMethod indexer_of(const DeviceOptions& options, const ModelConfig& config);
// Throws UsageError if a model cannot select by this method.
void check_indexer(const IndexerMethod& method, const ModelConfig& config);

// Says what makes the device slower than others, if anything does.
void note_of_device(const Device& device, Progress& progress);

// Refuses a model without FP8 weights on a device that keeps them (UsageError, --precision fp8),
// and says how many of them are dequantized all the same. Reads headers only.
void note_of_weights(const Model& model, const Device& device, Progress& progress);

// Says, and keeps in `warnings`, that devices of different kinds compute, if they do.
void warn_of_kinds(const std::string& kinds, Progress& progress,
                   std::vector<std::string>& warnings);

// Shows what of the model is ignored although it might matter, and keeps it in `warnings`.
void warn_of_model(const Model& model, Progress& progress, std::vector<std::string>& warnings);

// Warns if no query of any sequence has more blocks than it chooses: then HISA is exact.
void warn_of_reach(const Hisa& hisa, const TokenSet& tokens, Progress& progress,
                   std::vector<std::string>& warnings);

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
  // `options` says where weights wait; its other fields have served make_backends. Throws
  // ResourceError if a device is too small for any layer. `model` must outlive the session.
  Session(const Model& model, Backends backends, const DeviceOptions& options);
  Session(const Model& model, std::unique_ptr<Backend> backend, const DeviceOptions& options);

  // Of this process.
  std::size_t devices() const { return devices_.size(); }
  // The first device stands for all where only its kind matters.
  Backend& backend(std::size_t device = 0) { return *devices_[device].backend; }
  const Backend& backend(std::size_t device = 0) const { return *devices_[device].backend; }
  WeightSource& weights(std::size_t device) { return *devices_[device].weights; }
  const std::string& name(std::size_t device) const { return devices_[device].name; }
  // Whether devices may be of different kinds.
  bool allows_mixed() const { return mixed_; }
  // Of all devices, those of other ranks included (kinds_of).
  const std::string& kinds() const { return kinds_; }
  // Where weights wait.
  std::string weights_name() const {
    return std::string(name_of(devices_.front().weights->placement()));
  }
  // On each device.
  std::int64_t weight_bytes() const { return devices_.front().weights->bytes(); }
  // At the peak, of the device that held most.
  std::int64_t peak_bytes() const;
  // From now on evaluators compute on the devices of other ranks, too, except with trained
  // indexers, which other ranks do not have. The ranks must have been admitted, and must outlive
  // the session.
  void add(Ranks& ranks);
  // Computes for rank 0 until the job ends, with any of the token sets. Returns the exit code.
  int serve(Ranks& ranks, const std::vector<const TokenSet*>& token_sets);

  // Bytes of a device for a training. Backends on the CPU share its memory, which is paged, and how
  // many there are must not show.
  std::int64_t training_memory() const;
  // So many indexers are trained on a device.
  void add_students(std::size_t device, std::size_t count);
  // A training took so many seconds, in which devices were busy from `before` to `after`.
  void add_training(std::span<const double> before, std::span<const double> after, double seconds);

  // What each device did for evaluators and trainings so far.
  const SpreadUse& use() const { return use_; }

  // An evaluator of `tokens`, which must outlive it, on all devices, with the model's indexer.
  SpreadEvaluator evaluator(const TokenSet& tokens, const SweepGoal& goal = {});
  // The same with another one.
  SpreadEvaluator evaluator(const TokenSet& tokens, const SweepGoal& goal,
                            const IndexerMethod& indexer);
  // The same; `label` names the work in progress lines.
  SpreadEvaluator evaluator(const TokenSet& tokens, Progress& progress, std::string label,
                            const IndexerMethod& indexer);
  // The same, attending to all earlier tokens, without any indexer. Throws what check() of a
  // backend throws for a model that no kernel does that for.
  SpreadEvaluator dense_evaluator(const TokenSet& tokens, Progress& progress, std::string label);
  // With other indexers in some layers, on all devices of this process, each of which uses
  // `taken_bytes` for other things.
  SpreadEvaluator evaluator(const TokenSet& tokens, std::span<const TrainedIndexer> indexers,
                            std::int64_t taken_bytes);

 private:
  struct SessionDevice {
    std::string name;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<ModelWeights> weights;
    // Trained indexers of the first device, as long as an evaluator uses them here.
    std::weak_ptr<const SegmentIndexers> indexers = {};
  };

  std::unique_ptr<SweepWorker> worker_on(SessionDevice& device, const TokenSet& tokens,
                                         const SweepGoal& goal, SweepMemory memory,
                                         const ModelConfig& config);
  // The model's with an indexer, or dense.
  const ModelConfig& config_with(const IndexerMethod& indexer, bool dense = false);
  SpreadEvaluator evaluator(const TokenSet& tokens, const SweepGoal& goal,
                            const ModelConfig& config);
  static SpreadEvaluator reporting(SpreadEvaluator spread, Progress& progress, std::string label);
  SweepMemory memory_with(const SweepGoal& goal);
  SpreadEvaluator spread(std::vector<std::unique_ptr<SweepWorker>> workers, const TokenSet& tokens,
                         const SweepGoal& goal, SweepMemory memory, const ModelConfig& config);
  std::shared_ptr<const SegmentIndexers> indexers_on(SessionDevice& device,
                                                     const SegmentIndexers* of_first);
  SweepRates rates() const;

  const Model& model_;
  std::list<ModelConfig> configs_;  // with other indexers, which evaluators refer to
  std::mutex configs_mutex_;
  int threads_;
  bool mixed_;
  std::string kinds_;
  std::vector<SessionDevice> devices_;
  Ranks* ranks_ = nullptr;
  SpreadUse use_;
};

}  // namespace indexcache
