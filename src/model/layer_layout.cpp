// SPDX-License-Identifier: Apache-2.0
#include "model/layer_layout.h"

#include "model/block_fp8.h"
#include "model/dequantize.h"
#include "model/tensor_registry.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
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
  Builder(const ModelConfig& config, const Checkpoint& checkpoint, WeightTypes types,
          const AllocateTensor& allocate)
      : config_(config), checkpoint_(checkpoint), types_(types), allocate_(allocate) {}

  BlobLayout take() { return std::move(layout_); }

  // A stored tensor, in `type`.
  Tensor tensor(const std::string& name, DType type) {
    const StoredMatrix stored = stored_matrix(config_, checkpoint_, name);
    Tensor out = allocate_(stored.rows, stored.cols, type);
    append(name, stored, 0, out);
    return out;
  }

  // The matrix of a row of the table, for one expert.
  Tensor weight(const WeightRow& row, std::int64_t expert, bool stacked) {
    if (row.form == WeightForm::row || row.form == WeightForm::exact ||
        row.form == WeightForm::table) {
      return tensor(row.names.front(), device_type(row, types_.activation));
    }
    const auto parts = static_cast<std::int64_t>(row.names.size());
    stacked = stacked && !row.stack.empty();
    Tensor out = matrix(row, parts * row.rows, !stacked && keeps(row));
    if (stacked) {
      StoredMatrix stored = stored_matrix(config_, checkpoint_, row.stack);
      stored.rows = out.rows();
      append(row.stack, stored, expert * out.rows(), out);
      return out;
    }
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::string name = expert_name(row.names[static_cast<std::size_t>(part)], expert);
      const StoredMatrix stored = stored_matrix(config_, checkpoint_, name);
      append(name, stored, 0, out.row_range(part * row.rows, row.rows));
      count(row, stored, out);
    }
    return out;
  }

  // kv_b [A, dn + dv, rk]: its key rows move to the query side, its value rows behind attention.
  void absorb(const std::string& name, LayerWeights& weights) {
    const std::int64_t nope = config_.qk_nope_head_dim, value = config_.v_head_dim;
    const std::int64_t rank = config_.kv_lora_rank, heads = config_.heads;
    const StoredMatrix stored = place(name, stored_matrix(config_, checkpoint_, name), 0);
    weights.k_absorb = allocate_(heads * rank, nope, types_.activation);
    weights.v_absorb = allocate_(heads * value, rank, types_.activation);
    layout_.copies.push_back({stored, {nope + value, 0, nope, true}, weights.k_absorb});
    layout_.copies.push_back({stored, {nope + value, nope, value, false}, weights.v_absorb});
  }

 private:
  Tensor matrix(const WeightRow& row, std::int64_t rows, bool fp8) {
    if (!fp8) return allocate_(rows, row.cols, types_.activation);
    const Tensor codes = allocate_(rows, row.cols, DType::f8_e4m3);
    return codes.with_scales(allocate_(scale_blocks(rows), scale_blocks(row.cols), DType::f32));
  }

  // Decided for all experts of a row at the first: their products are one launch.
  bool keeps(const WeightRow& row) {
    const auto [found, is_new] = kept_.try_emplace(row.role, false);
    if (is_new) found->second = types_.keeps_fp8 && stays_fp8(config_, checkpoint_, row);
    return found->second;
  }

  // A matrix that was stored in FP8.
  void count(const WeightRow& row, const StoredMatrix& stored, const Tensor& out) {
    if (!is_fp8_product(row) || stored.dtype != DType::f8_e4m3) return;
    ++layout_.fp8.stored;
    if (out.dtype() == DType::f8_e4m3) ++layout_.fp8.kept;
  }

  // Rows [first_row, first_row + stored.rows) of a stored tensor, in pieces of whole block rows.
  void append(const std::string& name, StoredMatrix stored, std::int64_t first_row,
              const Tensor& out) {
    const std::int64_t row_bytes = stored.row_bytes();
    const std::int64_t grain = std::max<std::int64_t>(stored.block_rows, 1);
    const std::int64_t fitting = kMostPieceBytes / std::max<std::int64_t>(row_bytes, 1);
    const std::int64_t most = std::max(fitting / grain, std::int64_t{1}) * grain;
    for (std::int64_t row = 0; row < stored.rows; row += most) {
      StoredMatrix piece = stored;
      piece.rows = std::min(most, stored.rows - row);
      piece = place(name, piece, first_row + row);
      layout_.copies.push_back({piece,
                                {piece.rows, 0, piece.rows, false},
                                out.row_range(row, piece.rows),
                                config_.routed_experts});
    }
  }

  // Assigns a piece its offsets in the blob, scales first.
  StoredMatrix place(const std::string& name, StoredMatrix piece, std::int64_t first_row) {
    if (piece.block_rows > 0) {
      const std::int64_t across = (piece.cols + piece.block_cols - 1) / piece.block_cols;
      const std::int64_t down = (piece.rows + piece.block_rows - 1) / piece.block_rows;
      const std::string scales = scale_name(*config_.family, name);
      const DType stored = checkpoint_.tensor(scales).dtype;
      const auto width = static_cast<std::int64_t>(size_of(stored));
      const std::int64_t first = first_row / piece.block_rows * across, count = down * across;
      if (stored == DType::f8_e8m0) piece.scales_dtype = stored;
      const auto placed_width = static_cast<std::int64_t>(size_of(piece.scales_dtype));
      piece.scales_at = reserve(count * placed_width);
      layout_.parts.push_back(
          {scales, first * width, count * width, piece.scales_at, stored != piece.scales_dtype});
    }
    const std::int64_t bytes = piece.rows * piece.row_bytes();
    piece.at = reserve(bytes);
    layout_.parts.push_back({name, first_row * piece.row_bytes(), bytes, piece.at, false});
    return piece;
  }

  std::int64_t reserve(std::int64_t bytes) {
    const std::int64_t at = layout_.blob_bytes;
    layout_.blob_bytes += (bytes + kBlobGrain - 1) / kBlobGrain * kBlobGrain;
    return at;
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  WeightTypes types_;
  const AllocateTensor& allocate_;
  std::map<WeightRole, bool> kept_;
  BlobLayout layout_;
};

void read_part(const Checkpoint& checkpoint, const BlobPart& part, std::byte* blob) {
  if (!part.widened) {
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
                              bool has_indexer, std::int64_t layer, WeightTypes types,
                              const AllocateTensor& allocate) {
  Builder build(config, checkpoint, types, allocate);
  const WeightTable table = config.family->layer_weights(config, layer);
  const bool stacked = has_stacked_experts(config, checkpoint, layer);
  LayerWeights weights;
  for_each_weight(has_indexer ? table : trunk_rows(table),
                  [&](const WeightRow& row, std::int64_t expert) {
                    if (row.optional && !checkpoint.contains(row.names.front())) return;
                    if (row.form == WeightForm::absorbed) {
                      build.absorb(row.names.front(), weights);
                      return;
                    }
                    member_of(weights, row.role, static_cast<std::size_t>(expert)) =
                        build.weight(row, expert, stacked);
                  });
  return {build.take(), std::move(weights)};
}

MatrixBlobLayout lay_out_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                                const std::string& name, DType type,
                                const AllocateTensor& allocate) {
  Builder build(config, checkpoint, {type}, allocate);
  Tensor tensor = build.tensor(name, type);
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
