// SPDX-License-Identifier: Apache-2.0
#include "model/model_weights.h"

#include "core/error.h"
#include "model/dequantize.h"
#include "model/slot_layout.h"
#include "model/tensor_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace indexcache {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Cuts tensors from the memory of a slot.
AllocateTensor allocator_in(const Tensor& memory) {
  return
      [memory, used = std::int64_t{0}](std::int64_t rows, std::int64_t cols, DType dtype) mutable {
        const Tensor rest = memory.columns(used, memory.cols() - used);
        used += rounded_bytes(rows, cols, dtype);
        return rest.as(rows, cols, dtype);
      };
}

}  // namespace

ModelWeights::ModelWeights(const ModelConfig& config, const Checkpoint& checkpoint,
                           const std::vector<bool>& has_indexer, Device& backend,
                           Placement placement)
    : ModelWeights(
          config, checkpoint, has_indexer, backend,
          std::make_shared<StoredLayers>(
              checkpoint, weight_sizes(config, checkpoint, has_indexer, backend.weight_types()),
              config.layers, placement, 1)) {}

ModelWeights::ModelWeights(const ModelConfig& config, const Checkpoint& checkpoint,
                           const std::vector<bool>& has_indexer, Device& backend,
                           std::shared_ptr<StoredLayers> stored)
    : config_(config),
      checkpoint_(checkpoint),
      has_indexer_(has_indexer),
      backend_(backend),
      placement_(stored->placement()),
      sizes_(stored->sizes()),
      uploader_(backend.make_weight_uploader()),
      resident_(static_cast<std::size_t>(config.layers)),
      stored_(std::move(stored)) {
  zero_bias_ = backend.upload(std::vector<float>(static_cast<std::size_t>(config.routed_experts)),
                              1, config.routed_experts);
  for (const WeightRow& row : config.family->outer_weights(config)) {
    member_of(outer_, row.role) = load_outer(row);
  }
  if (placement_ != Placement::resident) {
    for (Slot& slot : slots_) {
      slot.memory = backend.allocate(1, sizes_.largest_layer, DType::u8, Memory::weights);
    }
  }
  loader_ = std::thread([this] { work(); });
}

ModelWeights::~ModelWeights() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  loader_.join();
}

std::int64_t ModelWeights::bytes() const {
  return sizes_.device(placement_) + backend_.uploader_bytes();
}

Tensor ModelWeights::load_outer(const WeightRow& row) {
  const std::string& name = row.names.front();
  const DType type = device_type(row, backend_.activation());
  const MatrixBlobLayout layout = lay_out_matrix(
      config_, checkpoint_, name, type, [&](std::int64_t rows, std::int64_t cols, DType dtype) {
        return backend_.allocate(rows, cols, dtype, Memory::weights);
      });
  const auto blob = backend_.allocate_host(layout.blob_bytes);
  read_blob(checkpoint_, layout.parts, blob.get(), stop_);
  uploader_->begin(backend_.mark());
  uploader_->load(blob.get(), layout.copies);
  if (!uploader_->finish()) read_floats(config_, checkpoint_, name);  // names what is not finite
  return layout.tensor;
}

const LayerWeights& ModelWeights::layer(std::int64_t layer) {
  const auto index = static_cast<std::size_t>(layer);
  const bool resident = placement_ == Placement::resident;
  if (resident && resident_[index]) return *resident_[index];
  if (!resident && slots_[current_].layer == layer) return slots_[current_].weights;
  if (requested_ != layer) {
    if (requested_ >= 0) await();  // loaded ahead, but another one is wanted
    request(layer);
  }
  LayerWeights weights = await();
  const LayerWeights* result = nullptr;
  if (resident) {
    result = &resident_[index].emplace(std::move(weights));
  } else {
    current_ = 1 - current_;
    slots_[current_].layer = layer;
    slots_[current_].weights = std::move(weights);
    result = &slots_[current_].weights;
  }
  const std::int64_t next = (layer + 1) % config_.layers;
  const bool there =
      resident ? resident_[static_cast<std::size_t>(next)].has_value() : next == layer;
  if (!there) request(next);
  const auto is_there = [](const auto& one) { return one.has_value(); };
  if (resident && std::ranges::all_of(resident_, is_there)) stored_.reset();  // not needed any more
  return *result;
}

// All work on the layer before the current one has been queued; its slot is free after the mark.
void ModelWeights::request(std::int64_t layer) {
  Slot& slot = slots_[1 - current_];
  slot.layer = -1;
  slot.weights = {};
  const AllocateTensor allocate =
      placement_ != Placement::resident
          ? allocator_in(slot.memory)
          : [this](std::int64_t rows, std::int64_t cols, DType dtype) {
              return backend_.allocate(rows, cols, dtype, Memory::weights);
            };
  Job job{layer, lay_out(layer, allocate), nullptr};
  LayerWeights& weights = job.layout.weights;
  if (weights.moe && weights.moe->correction_bias.empty() && weights.moe->hash_table.empty()) {
    weights.moe->correction_bias = zero_bias_;
  }
  job.mark = backend_.mark();
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
    done_ = false;
  }
  requested_ = layer;
  changed_.notify_all();
}

LoadTimes ModelWeights::load_times() const {
  const std::lock_guard lock(mutex_);
  return load_times_;
}

LayerWeights ModelWeights::await() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_; });
  requested_ = -1;
  done_ = false;
  const Job job = *std::exchange(job_, std::nullopt);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return job.layout.weights;
}

// The loader's thread.
void ModelWeights::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || (job_ && !done_); });
    if (stop_) return;
    const Job& job = *job_;  // stays until done_ is seen
    const std::int64_t next = (job.layer + 1) % config_.layers;
    const std::int64_t bytes = job.layout.blob_bytes;
    lock.unlock();
    std::exception_ptr failure;
    const auto begin = std::chrono::steady_clock::now();
    try {
      execute(job);
    } catch (...) {
      failure = std::current_exception();
    }
    const double seconds = seconds_since(begin);
    lock.lock();
    load_times_.bytes += bytes;
    load_times_.seconds += seconds;
    failure_ = failure;
    done_ = true;
    changed_.notify_all();
    if (placement_ != Placement::disk || failure) continue;
    lock.unlock();
    const auto ahead = std::chrono::steady_clock::now();
    read_ahead(next);
    const double reading = seconds_since(ahead);
    lock.lock();
    load_times_.seconds += reading;
  }
}

void ModelWeights::execute(const Job& job) {
  const StoredLayers::Blob ahead = std::exchange(ahead_, {});
  const StoredLayers::Blob blob = stored_->get(job.layer, job.layout, backend_, stop_);
  if (stop_) return;
  uploader_->begin(job.mark);
  uploader_->load(blob.get(), job.layout.copies);
  if (!uploader_->finish()) check_finite(job.layer);
}

// Reads the layer that will be requested next. Whatever fails here fails again, and is reported,
// when the layer is requested.
void ModelWeights::read_ahead(std::int64_t layer) {
  try {
    ahead_ = stored_->get(layer, lay_out(layer, CountingAllocator()), backend_, stop_);
  } catch (const std::exception&) {
    return;
  }
}

LayerBlobLayout ModelWeights::lay_out(std::int64_t layer, const AllocateTensor& allocate) const {
  return lay_out_layer(config_, checkpoint_, config_.is_marked(has_indexer_, layer), layer,
                       backend_.weight_types(), allocate);
}

// The uploader reports only that some number is not finite; reading again names the tensor.
void ModelWeights::check_finite(std::int64_t layer) const {
  const bool stacked = has_stacked_experts(config_, checkpoint_, layer);
  for (const auto& specs :
       {trunk_tensors(config_, layer, stacked), indexer_tensors(config_, layer)}) {
    for (const TensorSpec& spec : specs) {
      if (!checkpoint_.contains(spec.name)) continue;
      if (spec.table) {
        check_table(config_, checkpoint_, spec.name);
      } else {
        read_floats(config_, checkpoint_, spec.name);
      }
    }
  }
}

}  // namespace indexcache
