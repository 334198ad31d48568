// SPDX-License-Identifier: Apache-2.0
#include "model/layer_layout.h"

#include "model/dequantize.h"
#include "model/tensor_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace indexcache {
namespace {

// Larger matrices are cut, so that reading, copying and converting overlap.
constexpr std::int64_t kMostPieceBytes = std::int64_t{16} << 20;

// Threads that read one blob; more do not make disks faster.
constexpr std::size_t kReaders = 8;

class Builder {
 public:
  Builder(const ModelConfig& config, const Checkpoint& checkpoint, DType activation,
          const AllocateTensor& allocate)
      : config_(config), checkpoint_(checkpoint), activation_(activation), allocate_(allocate) {}

  BlobLayout take() { return std::move(layout_); }

  Tensor matrix(const std::string& name) { return matrix_as(name, activation_); }

  Tensor matrix_as(const std::string& name, DType type) {
    const StoredMatrix stored = stored_matrix(config_, checkpoint_, name);
    const Tensor out = allocate_(stored.rows, stored.cols, type);
    append(name, stored, 0, out);
    return out;
  }

  // float32: norm weights and biases.
  Tensor row(const std::string& name) { return matrix_as(name, DType::f32); }

  // Two matrices of one shape, one above the other.
  Tensor stacked(const std::string& upper, const std::string& lower) {
    const StoredMatrix above = stored_matrix(config_, checkpoint_, upper);
    const StoredMatrix below = stored_matrix(config_, checkpoint_, lower);
    const Tensor both = allocate_(above.rows + below.rows, above.cols, activation_);
    append(upper, above, 0, both.row_range(0, above.rows));
    append(lower, below, 0, both.row_range(above.rows, below.rows));
    return both;
  }

  // Matrix `index` of a stack of `rows` rows each.
  Tensor of_stack(const std::string& name, std::int64_t index, std::int64_t rows) {
    StoredMatrix stored = stored_matrix(config_, checkpoint_, name);
    stored.rows = rows;
    const Tensor out = allocate_(rows, stored.cols, activation_);
    append(name, stored, index * rows, out);
    return out;
  }

  // kv_b [A, dn + dv, rk]: its key rows move to the query side, its value rows behind attention.
  void absorb(const std::string& name, LayerWeights& weights) {
    const std::int64_t nope = config_.qk_nope_head_dim, value = config_.v_head_dim;
    const std::int64_t rank = config_.kv_lora_rank, heads = config_.heads;
    const StoredMatrix stored = place(name, stored_matrix(config_, checkpoint_, name), 0);
    weights.k_absorb = allocate_(heads * rank, nope, activation_);
    weights.v_absorb = allocate_(heads * value, rank, activation_);
    layout_.copies.push_back({stored, {nope + value, 0, nope, true}, weights.k_absorb});
    layout_.copies.push_back({stored, {nope + value, nope, value, false}, weights.v_absorb});
  }

 private:
  // Rows [first_row, first_row + stored.rows) of a stored tensor, in pieces of whole block rows.
  void append(const std::string& name, StoredMatrix stored, std::int64_t first_row,
              const Tensor& out) {
    const std::int64_t row_bytes = stored.cols * static_cast<std::int64_t>(size_of(stored.dtype));
    const std::int64_t grain = std::max<std::int64_t>(stored.block_rows, 1);
    const std::int64_t fitting = kMostPieceBytes / std::max<std::int64_t>(row_bytes, 1);
    const std::int64_t most = std::max(fitting / grain, std::int64_t{1}) * grain;
    for (std::int64_t row = 0; row < stored.rows; row += most) {
      StoredMatrix piece = stored;
      piece.rows = std::min(most, stored.rows - row);
      piece = place(name, piece, first_row + row);
      layout_.copies.push_back(
          {piece, {piece.rows, 0, piece.rows, false}, out.row_range(row, piece.rows)});
    }
  }

  // Assigns a piece its offsets in the blob, scales first.
  StoredMatrix place(const std::string& name, StoredMatrix piece, std::int64_t first_row) {
    const auto element = static_cast<std::int64_t>(size_of(piece.dtype));
    if (piece.block_rows > 0) {
      const std::int64_t across = (piece.cols + piece.block_cols - 1) / piece.block_cols;
      const std::int64_t down = (piece.rows + piece.block_rows - 1) / piece.block_rows;
      const std::string scales = scale_name(name);
      const auto width = static_cast<std::int64_t>(size_of(checkpoint_.tensor(scales).dtype));
      const std::int64_t first = first_row / piece.block_rows * across;
      piece.scales_at = reserve(down * across * 4);
      layout_.parts.push_back(
          {scales, first * width, down * across * width, piece.scales_at, true});
    }
    const std::int64_t bytes = piece.rows * piece.cols * element;
    piece.at = reserve(bytes);
    layout_.parts.push_back({name, first_row * piece.cols * element, bytes, piece.at, false});
    return piece;
  }

  std::int64_t reserve(std::int64_t bytes) {
    const std::int64_t at = layout_.blob_bytes;
    layout_.blob_bytes += (bytes + kBlobGrain - 1) / kBlobGrain * kBlobGrain;
    return at;
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  DType activation_;
  const AllocateTensor& allocate_;
  BlobLayout layout_;
};

MlpWeights mlp(Builder& build, const std::string& prefix) {
  return {build.stacked(prefix + "gate_proj.weight", prefix + "up_proj.weight"),
          build.matrix(prefix + "down_proj.weight")};
}

IndexerWeights indexer(Builder& build, std::int64_t layer) {
  const std::string prefix = layer_prefix(layer) + "self_attn.indexer.";
  return {build.matrix(prefix + "wq_b.weight"), build.matrix(prefix + "wk.weight"),
          build.row(prefix + "k_norm.weight"), build.row(prefix + "k_norm.bias"),
          build.matrix(prefix + "weights_proj.weight")};
}

MoeWeights moe(Builder& build, const ModelConfig& config, const Checkpoint& checkpoint,
               std::int64_t layer) {
  const std::string prefix = layer_prefix(layer) + "mlp.";
  MoeWeights weights;
  weights.gate = build.matrix(prefix + "gate.weight");
  const std::string bias = correction_bias_name(layer);
  if (checkpoint.contains(bias)) {
    weights.correction_bias = build.row(bias);
  }
  const bool fused = checkpoint.contains(fused_gate_up_name(layer));
  for (std::int64_t e = 0; e < config.routed_experts; ++e) {
    MlpWeights expert;
    if (fused) {
      expert.gate_up = build.of_stack(fused_gate_up_name(layer), e, 2 * config.moe_intermediate);
      expert.down = build.of_stack(prefix + "experts.down_proj", e, config.hidden);
    } else {
      expert = mlp(build, fmt::format("{}experts.{}.", prefix, e));
    }
    weights.experts.gate_up.push_back(std::move(expert.gate_up));
    weights.experts.down.push_back(std::move(expert.down));
  }
  return weights;
}

void read_part(const Checkpoint& checkpoint, const BlobPart& part, std::byte* blob) {
  if (!part.scales) {
    checkpoint.read(part.tensor, part.first,
                    {blob + part.at, static_cast<std::size_t>(part.bytes)});
    return;
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(part.bytes));
  checkpoint.read(part.tensor, part.first, bytes);
  const std::vector<float> scales = widen(checkpoint.tensor(part.tensor).dtype, bytes);
  std::memcpy(blob + part.at, scales.data(), scales.size() * sizeof(float));
}

}  // namespace

LayerBlobLayout lay_out_layer(const ModelConfig& config, const Checkpoint& checkpoint,
                              bool has_indexer, std::int64_t layer, DType activation,
                              const AllocateTensor& allocate) {
  Builder build(config, checkpoint, activation, allocate);
  const std::string prefix = layer_prefix(layer);
  const std::string attention = prefix + "self_attn.";
  LayerWeights w;
  w.input_norm = build.row(prefix + "input_layernorm.weight");
  w.post_attention_norm = build.row(prefix + "post_attention_layernorm.weight");
  w.q_a = build.matrix(attention + "q_a_proj.weight");
  w.q_a_norm = build.row(attention + "q_a_layernorm.weight");
  w.q_b = build.matrix(attention + "q_b_proj.weight");
  w.kv_a = build.matrix(attention + "kv_a_proj_with_mqa.weight");
  w.kv_a_norm = build.row(attention + "kv_a_layernorm.weight");
  build.absorb(attention + "kv_b_proj.weight", w);
  w.o = build.matrix(attention + "o_proj.weight");
  if (has_indexer) w.indexer = indexer(build, layer);
  const bool routed = config.moe_layer[static_cast<std::size_t>(layer)];
  if (routed) w.moe = moe(build, config, checkpoint, layer);
  if (!routed) w.mlp = mlp(build, prefix + "mlp.");
  if (routed && config.shared_experts > 0) w.mlp = mlp(build, prefix + "mlp.shared_experts.");
  return {build.take(), std::move(w)};
}

MatrixBlobLayout lay_out_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                                const std::string& name, DType type,
                                const AllocateTensor& allocate) {
  Builder build(config, checkpoint, type, allocate);
  Tensor tensor = build.matrix(name);
  return {build.take(), std::move(tensor)};
}

void read_blob(const Checkpoint& checkpoint, const std::vector<BlobPart>& parts, std::byte* blob,
               const std::atomic<bool>& stop) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto read_parts = [&] {
    try {
      while (!stop) {
        const std::size_t index = next++;
        if (index >= parts.size()) return;
        read_part(checkpoint, parts[index], blob);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = parts.size();
    }
  };
  const std::int64_t bytes = parts.empty() ? 0 : parts.back().at + parts.back().bytes;
  const auto useful = static_cast<std::size_t>(bytes / kMostPieceBytes);
  {
    std::vector<std::jthread> readers;
    for (std::size_t r = 1; r < std::min(kReaders, useful); ++r) readers.emplace_back(read_parts);
    read_parts();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace indexcache
