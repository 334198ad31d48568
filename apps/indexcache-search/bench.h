// SPDX-License-Identifier: Apache-2.0
// What benchmarks and `profile` share: a model, real or synthetic, on a device.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "device_options.h"
#include "io/json.h"
#include "model/weights.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

struct BenchOptions {
  DeviceOptions device;  // model may be empty when `synthetic` is given
  std::string progress = "auto";
  std::string kind;  // ops, decode or search; profile for `profile`
  std::string synthetic;
  std::string calibration;  // search: ready-made token ids instead of random ones
  std::vector<std::int64_t> contexts = {32768};
  std::int64_t rows = 0;          // 0: every row that selects
  std::vector<std::string> only;  // ops: groups of operations; all if empty
  bool under_load = false;        // ops: a prefill goes before every run
  int shared = 0;                 // ops: percentage of a set that the next query's set shares
  std::vector<std::string> patterns = {"full", "uniform:4"};  // decode
  std::string keep = "1/8";
  std::int64_t sequences = 1;
  std::vector<std::int64_t> batches = {1, 8, 32};  // decode
  PageLayout kv_cache = PageLayout::plain;         // decode
  int repeat = 5;
  bool whole = false;
};

// What is known of a model before weights are read or made.
struct BenchShape {
  std::optional<Model> model;  // none where it is synthetic
  ModelConfig config;
  bool share_layers;
  std::vector<bool> has_indexer;
  std::string name;
};

// --synthetic, in place of MODEL.
void add_synthetic_option(CLI::App& command, BenchOptions& options);

// Throws UsageError unless the options name one model.
BenchShape read_shape(BenchOptions options);

// A model that can be timed.
class BenchModel {
 public:
  BenchModel(BenchShape shape, const BenchOptions& options, Progress& progress);

  const std::string& name() const { return shape_.name; }
  const ModelConfig& config() const { return shape_.config; }
  // The first device; only a search uses others.
  Backend& backend() { return *devices_.front().backend; }
  WeightSource& weights() { return *devices_.front().weights; }
  std::size_t devices() const { return devices_.size(); }
  // Of all of them (kinds_of).
  std::string kinds() const;
  // An evaluator on the first `devices` of them; `tokens` and `use` must outlive it.
  SpreadEvaluator evaluator(const TokenSet& tokens, std::size_t devices, SpreadUse& use);
  Pattern baseline() const { return Pattern::from_full_layers(shape_.has_indexer); }
  Pattern pattern(const std::string& spec) const;
  const BenchShape& shape() const { return shape_; }
  // Whether weights stay on the device.
  bool resident() const { return placement_ == Placement::resident; }
  SweepMemory memory() const { return sweep_memory(*devices_.front().backend, weight_bytes_); }
  // {"planned_bytes", "peak_bytes"} of the device so far, weights included, after sweeps that
  // planned `sweep_bytes`; printed as well unless `json`. Null on engines that do not count.
  Json memory_report(std::int64_t sweep_bytes, bool json) const;

 private:
  struct BenchDevice {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<WeightSource> weights;
  };

  void load(const BenchOptions& options);
  void make_synthetic(const BenchOptions& options);

  BenchShape shape_;
  std::vector<BenchDevice> devices_;
  Placement placement_ = Placement::resident;
  std::int64_t stored_bytes_ = 0;  // of all layers
  std::int64_t weight_bytes_ = 0;  // on each device
  int threads_;
};

// Seconds of the median of `repeat` runs of the device, after one that is not counted. `before` is
// called before each run, and is not counted either.
double median_seconds(
    Backend& backend, int repeat, const std::function<void()>& body,
    const std::function<void()>& before = [] {});
// The same, split by component.
ComponentSeconds median_components(
    Backend& backend, int repeat, const std::function<void()>& body,
    const std::function<void()>& before = [] {});

// Throws UsageError for a length that the model does not take, or at which it selects nothing.
void check_context(const ModelConfig& config, std::int64_t length);

// Random token ids, the same on every call; their length must pass check_context.
TokenSet random_tokens(const ModelConfig& config, std::int64_t sequences, std::int64_t length);

// Each prints a table unless `json`, and returns the document.
Json bench_ops(BenchModel& model, const BenchOptions& options, bool json);
Json bench_decode(BenchModel& model, const BenchOptions& options, bool json);
Json bench_search(BenchModel& model, const BenchOptions& options, bool json);

// The time of one request on 1, 2, … devices; null if there is only one.
Json bench_scaling(BenchModel& model, const TokenSet& tokens, std::span<const Pattern> patterns,
                   bool json);

}  // namespace indexcache
