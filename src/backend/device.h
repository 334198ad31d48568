// SPDX-License-Identifier: Apache-2.0
// What computes, without what it computes: name and types, memory, time, and transfers.
//
// A Backend is a Device with the operations of the forward pass. Code that only plans, allocates or
// loads needs no more than this. A device has no state outside its object: several of them, on one
// piece of hardware or on different ones, live in one process. One thread at a time calls an
// object, apart from its WeightUploaders.
#pragma once

#include "backend/model_shape.h"
#include "backend/tensor.h"
#include "backend/weight_uploader.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace indexcache {

// What device memory is for.
enum class Memory { weights, state, index_sets, keys, workspace };
inline constexpr std::size_t kMemoryKinds = 5;
inline constexpr std::array<std::string_view, kMemoryKinds> kMemoryNames = {
    "weights", "state", "index sets", "keys", "workspace"};

// Bytes that are allocated now and at the peak, by kind; peak_total is the peak of all kinds
// together.
struct MemoryUse {
  std::array<std::int64_t, kMemoryKinds> current{};
  std::array<std::int64_t, kMemoryKinds> peak{};
  std::int64_t peak_total = 0;
};

// Where the time of a forward pass goes. An operation counts as what it does, unless its caller
// says what it is for (Device::CountAs).
enum class Component {
  projections,
  indexer_projections,  // with the norm and RoPE of the indexer's queries and keys
  indexer_logits,
  top_k,
  sparse_attention,  // or dense attention
  key_writes,        // of the keys of attention: what an engine writes to its KV cache
  index_key_writes,  // of the indexer's keys
  experts,           // with their router, and dense MLPs
  norms,             // with RoPE, gates and residual streams
  loss,              // which no prefill computes
  other,
  gaps,  // in which no operation is at work
};
inline constexpr std::size_t kComponents = 12;
inline constexpr std::array<std::string_view, kComponents> kComponentNames = {"projections",
                                                                              "indexer projections",
                                                                              "indexer logits",
                                                                              "top-k",
                                                                              "sparse attention",
                                                                              "KV writes",
                                                                              "index key writes",
                                                                              "MoE and MLP",
                                                                              "norms and RoPE",
                                                                              "loss",
                                                                              "other",
                                                                              "gaps"};
using ComponentSeconds = std::array<double, kComponents>;

// The time between start_profile() and take_profile(), cut into pieces. Every piece begins with a
// stamp, which takes time itself (without_stamps).
struct ComponentProfile {
  ComponentSeconds seconds{};
  std::array<double, kComponents> pieces{};  // how many
};

// What the matrices of a model become on a device.
struct WeightTypes {
  DType activation = DType::f32;  // of matrices and of the activations that they multiply
  bool keeps_fp8 = false;         // those that are stored in FP8 stay so (model/block_fp8.h)
};

class Device {
 public:
  virtual ~Device() = default;

  // For records and fingerprints, such as "cpu x86-64-v3": losses have the same bits under the same
  // name, build and driver.
  virtual std::string name() const = 0;

  // Why operations are slower here than on other devices of the kind, for users; empty if they are
  // not.
  virtual std::string remark() const { return ""; }

  // Type of activations that feed products and of the matrices they meet; the residual, norms,
  // router and logits are float32 always.
  virtual DType activation() const { return DType::f32; }
  // Type of indexer queries and keys before index_topk.
  virtual DType index_activation() const { return activation(); }
  // Whether linear(), gated_mlp() and experts() also take FP8 matrices with scales
  // (Tensor::scales), which they multiply as deployed (docs/numerics.md, FP8).
  virtual bool keeps_fp8() const { return false; }
  WeightTypes weight_types() const { return {activation(), keeps_fp8()}; }

  // A GPU: its memory is small and not paged, so it is planned, counted and refused.
  virtual bool is_gpu() const { return false; }

  // Bytes of device memory that this process may plan with, weights included.
  virtual std::int64_t memory_bytes() const = 0;
  // From now on plans, and what operations take for themselves, stay within `bytes` if that is less
  // than memory_bytes(). Results do not depend on it.
  virtual void limit_memory(std::int64_t bytes) = 0;
  virtual MemoryUse memory_use() const = 0;
  // The most bytes that the operations take for themselves, whatever memory they are counted under,
  // with at most `rows` rows per call and `longest` keys per row.
  virtual std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                                     std::int64_t longest) const = 0;
  // What those that compute logits, of the indexer or of tokens, take in addition while they run;
  // 0 on devices that have them in scratch_bytes().
  virtual std::int64_t logits_bytes(const ModelShape& shape, std::int64_t rows,
                                    std::int64_t longest) const;
  // Bytes per row that operations take for themselves in addition to both: linear() if x has
  // `width` columns, sparse_attention(), gated_mlp() for `hidden` columns and `middle` between its
  // products, and experts(), by default with all of its tensors at once.
  virtual std::int64_t linear_row_bytes(std::int64_t width) const;
  virtual std::int64_t attention_row_bytes(const ModelShape& shape) const;
  virtual std::int64_t mlp_row_bytes(std::int64_t hidden, std::int64_t middle) const;
  virtual std::int64_t expert_row_bytes(const ModelShape& shape) const;
  // Device memory that a WeightUploader takes for itself.
  virtual std::int64_t uploader_bytes() const { return 0; }

  // Seconds that the device needs for `body`, from idle to idle.
  virtual double measure(const std::function<void()>& body) = 0;
  // Splits the time from now until take_profile(), which waits for the device, by component of the
  // forward pass. The parts add up to all of that time. On a CPU, where threads score and choose by
  // turns, logits and top-k share the time of their operation as they share that of the threads.
  virtual void start_profile() = 0;
  virtual ComponentProfile take_profile() = 0;

  // While one lives, operations count as `component`, whatever they do.
  class CountAs {
   public:
    CountAs(Device& device, Component component)
        : device_(device), before_(std::exchange(device.counted_as_, component)) {}
    ~CountAs() { device_.counted_as_ = before_; }
    CountAs(const CountAs&) = delete;
    CountAs& operator=(const CountAs&) = delete;

   private:
    Device& device_;
    std::optional<Component> before_;
  };

  virtual Tensor allocate(std::int64_t rows, std::int64_t cols, DType dtype = DType::f32,
                          Memory kind = Memory::workspace) = 0;
  // Uniform numbers in [offset - scale, offset + scale), rounded to the tensor's type: synthetic
  // weights. Scales are not written.
  virtual void fill_random(const Tensor& tensor, float scale, float offset, std::uint64_t seed) = 0;

  // float32 parameters: norm weights, biases, tables.
  virtual Tensor upload(std::vector<float> values, std::int64_t rows, std::int64_t cols) = 0;
  // A matrix that products multiply by, or the embedding: rounded to activation().
  virtual Tensor upload_matrix(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
    return upload(std::move(values), rows, cols);
  }
  virtual Tensor upload(std::span<const std::int32_t> values, std::int64_t rows,
                        std::int64_t cols) = 0;
  // Widened to float32, FP8 with its scales multiplied.
  virtual std::vector<float> download(const Tensor& tensor) = 0;
  virtual std::vector<std::int32_t> download_indices(const Tensor& tensor) = 0;

  // Moves stored weights to the device; the uploader must not outlive this device.
  virtual std::unique_ptr<WeightUploader> make_weight_uploader() = 0;
  // Host memory for a blob of `bytes` bytes that a WeightUploader reads.
  virtual std::shared_ptr<std::byte> allocate_host(std::int64_t bytes);
  // The current end of the device's queue of work, for WeightUploader::begin.
  virtual std::shared_ptr<void> mark() { return nullptr; }

 protected:
  // What an operation counts as that does the work of `component`.
  Component counted(Component component) const { return counted_as_.value_or(component); }

 private:
  std::optional<Component> counted_as_;
};

}  // namespace indexcache
