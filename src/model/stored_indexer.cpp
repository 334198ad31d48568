// SPDX-License-Identifier: Apache-2.0
#include "model/stored_indexer.h"

#include "core/error.h"
#include "core/narrow.h"
#include "model/dequantize.h"
#include "model/tensor_registry.h"
#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace indexcache {
namespace {

void check_values(const std::string& name, const std::vector<float>& values, const std::string& why,
                  const std::string& remedy) {
  const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
  if (bad == values.end()) return;
  throw InputError({"a trained weight cannot be stored", name,
                    fmt::format("element {} {}", bad - values.begin(), why), remedy});
}

template <typename Stored, typename Convert>
std::vector<std::byte> encode_all(const std::vector<float>& values, Convert convert) {
  std::vector<std::byte> bytes(values.size() * sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Stored stored = convert(values[i]);
    std::memcpy(bytes.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
  return bytes;
}

std::vector<std::byte> narrow(DType dtype, const std::vector<float>& values) {
  switch (dtype) {
    case DType::f32:
      return encode_all<float>(values, [](float v) { return v; });
    case DType::bf16:
      return encode_all<std::uint16_t>(values, float_to_bf16);
    case DType::f16:
      return encode_all<std::uint16_t>(values, float_to_f16);
    case DType::f8_e8m0:  // of powers of two; what the exponent is in float32
      return encode_all<std::uint8_t>(values, [](float v) {
        return static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(v) >> 23);
      });
    default:
      throw InternalError(
          {"weights cannot be stored in this type", std::string(name_of(dtype)), "", ""});
  }
}

bool has_powers_of_two(const Checkpoint& checkpoint, const std::string& scales) {
  const DType dtype = checkpoint.tensor(scales).dtype;
  return dtype == DType::f8_e8m0 ||
         std::ranges::all_of(widen(dtype, checkpoint.read(scales)), is_power_of_two);
}

// The scale of a block whose largest magnitude is `largest`.
float scale_for(float largest, bool powers_of_two) {
  if (largest == 0) return 1;
  // Normal numbers only: every type of scales has them, and nothing is divided by 0.
  const float exact = std::max(largest / kLargestE4m3, std::numeric_limits<float>::min());
  return powers_of_two ? power_of_two_above(exact) : exact;
}

// The block scales of a matrix, one for each element of it.
struct ScaleMap {
  StoredMatrix blocks;
  std::size_t cols;  // of the tensor of scales

  std::size_t at(std::int64_t row, std::int64_t col) const {
    return static_cast<std::size_t>(row / blocks.block_rows) * cols +
           static_cast<std::size_t>(col / blocks.block_cols);
  }
  template <typename Action>
  void for_each(Action action) const {
    for (std::int64_t i = 0; i < blocks.rows; ++i) {
      for (std::int64_t j = 0; j < blocks.cols; ++j) {
        action(static_cast<std::size_t>(i * blocks.cols + j), at(i, j));
      }
    }
  }
};

// Appends a matrix in F8_E4M3 and its scales; returns the values that they stand for.
std::vector<float> quantize_blocks(const ModelConfig& config, const Checkpoint& checkpoint,
                                   const std::string& name, const std::vector<float>& values,
                                   std::vector<EncodedTensor>& tensors) {
  const RawTensor& source = checkpoint.tensor(scale_name(*config.family, name));
  const ScaleMap map{stored_matrix(config, checkpoint, name),
                     source.shape.size() == 2 ? static_cast<std::size_t>(source.shape[1]) : 1};
  std::vector<float> scales(static_cast<std::size_t>(source.elements()));
  map.for_each([&](std::size_t i, std::size_t block) {
    scales[block] = std::max(scales[block], std::abs(values[i]));
  });
  const bool powers_of_two = has_powers_of_two(checkpoint, scale_name(*config.family, name));
  for (float& scale : scales) scale = scale_for(scale, powers_of_two);
  std::vector<std::byte> stored_scales = narrow(source.dtype, scales);
  scales = widen(source.dtype, stored_scales);  // what is divided by is what will be read
  std::vector<std::byte> bytes(values.size());
  std::vector<float> dequantized(values.size());
  map.for_each([&](std::size_t i, std::size_t block) {
    const std::uint8_t bits = float_to_e4m3(values[i] / scales[block]);
    bytes[i] = std::byte{bits};
    dequantized[i] = e4m3_to_float(bits) * scales[block];
  });
  tensors.push_back({name, DType::f8_e4m3, checkpoint.tensor(name).shape, std::move(bytes)});
  tensors.push_back(
      {scale_name(*config.family, name), source.dtype, source.shape, std::move(stored_scales)});
  return dequantized;
}

}  // namespace

std::vector<std::string> stored_indexer_names(const ModelConfig& config,
                                              const Checkpoint& checkpoint, std::int64_t layer) {
  std::vector<std::string> names;
  for (const TensorSpec& spec : indexer_tensors(config, layer)) {
    check_readable(config, checkpoint, spec.name);
    names.push_back(spec.name);
    if (checkpoint.tensor(spec.name).dtype == DType::f8_e4m3) {
      names.push_back(scale_name(*config.family, spec.name));
    }
  }
  return names;
}

TrainedIndexer read_indexer(const ModelConfig& config, const Checkpoint& checkpoint,
                            std::int64_t layer) {
  TrainedIndexer indexer;
  indexer.layer = layer;
  for (const WeightRow& row : indexer_rows(config.family->layer_weights(config, layer))) {
    indexer_member(indexer, row.role) = read_floats(config, checkpoint, row.names.front());
  }
  return indexer;
}

StoredIndexer quantize_indexer(const ModelConfig& config, const Checkpoint& checkpoint,
                               const TrainedIndexer& indexer) {
  StoredIndexer stored;
  stored.dequantized.layer = indexer.layer;
  for (const WeightRow& row : indexer_rows(config.family->layer_weights(config, indexer.layer))) {
    const std::string& name = row.names.front();
    const std::vector<float>& from = indexer_member(indexer, row.role);
    std::vector<float>& to = indexer_member(stored.dequantized, row.role);
    check_readable(config, checkpoint, name);
    const RawTensor& source = checkpoint.tensor(name);
    if (from.size() != static_cast<std::size_t>(source.elements())) {
      throw InternalError({"a trained weight has another size than its tensor", name,
                           fmt::format("{} elements for {}", from.size(), shape_text(source.shape)),
                           ""});
    }
    check_values(name, from, "is not finite", "train with a smaller learning rate");
    if (source.dtype == DType::f8_e4m3) {
      to = quantize_blocks(config, checkpoint, name, from, stored.tensors);
    } else {
      stored.tensors.push_back({name, source.dtype, source.shape, narrow(source.dtype, from)});
      to = widen(source.dtype, stored.tensors.back().bytes);
    }
    check_values(name, to,
                 fmt::format("is too large for {}, the type of this tensor", source.type()),
                 "train with a smaller learning rate, or from a checkpoint in BF16 or F32");
  }
  return stored;
}

}  // namespace indexcache
