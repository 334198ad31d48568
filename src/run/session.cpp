// SPDX-License-Identifier: Apache-2.0
#include "run/session.h"

#include "backend/devices/make_backend.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "distill/students.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

// Larger waves make a CPU no faster: its products run tile by tile.
constexpr std::int64_t kCpuWaveBytes = std::int64_t{512} << 20;

Precision parse_precision(const std::string& text) {
  if (text == "bf16") return Precision::bf16;
  return text == "fp8" ? Precision::fp8 : Precision::fp32;
}

}  // namespace

std::unique_ptr<Backend> make_backend(const DeviceOptions& options) {
  const auto limit = parse_bytes(options.memory_limit);
  if (!limit && !options.memory_limit.empty()) {
    throw UsageError({fmt::format("invalid size for --memory-limit: \"{}\"", options.memory_limit),
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

void note_of_device(const Device& device, Progress& progress) {
  if (const std::string remark = device.remark(); !remark.empty()) progress.note(remark);
}

void warn_of_model(const Model& model, Progress& progress, std::vector<std::string>& warnings) {
  for (const std::string& warning : model.warnings()) warn(progress, warnings, warning);
}

Placement placement_for(const DeviceOptions& options, const WeightSizes& sizes,
                        const Device& backend) {
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
                       fmt::format("weights ({}) need {}, but only {} are available",
                                   name_of(placement), bytes_text(needed), bytes_text(room)),
                       least < room
                           ? "--weights stream, or auto"
                           : fmt::format("more than {} of memory{}", bytes_text(least),
                                         backend.is_gpu() && backend.activation() == DType::f32
                                             ? ", or --precision bf16, which takes half"
                                             : "")});
}

SweepMemory sweep_memory(const Device& backend, std::int64_t weight_bytes) {
  SweepMemory memory;
  memory.memory_bytes = std::max<std::int64_t>(backend.memory_bytes() - weight_bytes, 0);
  memory.enforce = true;
  if (!backend.is_gpu()) memory.wave_bytes = kCpuWaveBytes;
  return memory;
}

std::int64_t indexer_bytes(const ModelConfig& config, const Device& backend, std::size_t count) {
  return static_cast<std::int64_t>(count) * indexer_parameters(config) *
         static_cast<std::int64_t>(size_of(backend.activation()));
}

Session::Session(const Model& model, std::unique_ptr<Backend> backend, const DeviceOptions& options)
    : model_(model),
      backend_(checked(model, std::move(backend))),
      weights_(model.config, model.checkpoint, model.has_indexer, *backend_,
               placement_for(options,
                             weight_sizes(model.config, model.checkpoint, model.has_indexer,
                                          backend_->activation()),
                             *backend_)) {}

SweepEvaluator Session::evaluator(const TokenSet& tokens, SweepGoal goal) {
  const std::size_t trained = goal.indexers == nullptr ? 0 : goal.indexers->all().size();
  return {
      model_.config,
      weights_,
      *backend_,
      tokens,
      sweep_memory(*backend_, weights_.bytes() + indexer_bytes(model_.config, *backend_, trained)),
      std::move(goal)};
}

SweepEvaluator Session::evaluator(const TokenSet& tokens, WeightSource& weights,
                                  std::int64_t taken_bytes) {
  return {model_.config, weights, *backend_, tokens,
          sweep_memory(*backend_, weights_.bytes() + taken_bytes)};
}

SweepEvaluator Session::evaluator(const TokenSet& tokens, Progress& progress, std::string label) {
  SweepEvaluator sweep = evaluator(tokens);
  sweep.set_progress([&progress, label = std::move(label)](std::size_t done, std::size_t total) {
    progress.update(label, done, total);
  });
  return sweep;
}

}  // namespace indexcache
