// SPDX-License-Identifier: Apache-2.0
#include "model/dequantize.h"

#include "core/error.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace indexcache {
namespace {

template <typename Stored, typename Convert>
void convert_all(std::span<const std::byte> bytes, Convert convert, std::vector<float>& out) {
  const auto count = static_cast<std::int64_t>(bytes.size() / sizeof(Stored));
  out.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * static_cast<std::int64_t>(sizeof(Stored)),
                sizeof(Stored));
    out[static_cast<std::size_t>(i)] = convert(value);
  }
}

struct Blocks {
  std::int64_t rows, cols;  // elements of a block
  std::int64_t scale_rows, scale_cols;
};

std::int64_t blocks_of(std::int64_t extent, std::int64_t block) {
  return (extent + block - 1) / block;
}

[[noreturn]] void fail(const Checkpoint& checkpoint, const std::string& name,
                       const std::string& why) {
  throw InputError(
      {"a tensor cannot be dequantized", checkpoint.where(name), why,
       "supported are BF16, F16, F32, F8_E4M3 with block scales and, of experts, FP4 in I8"});
}

// FP4: a scale for 32 columns of a row.
Blocks blocks_of_pairs(const ModelConfig& config, const Checkpoint& checkpoint,
                       const std::string& name) {
  constexpr std::int64_t kColumns = 32;
  const std::string scales = scale_name(*config.family, name);
  if (!checkpoint.contains(scales))
    fail(checkpoint, name, "it is FP4 and " + scales + " is missing");
  const RawTensor &weight = checkpoint.tensor(name), &scale = checkpoint.tensor(scales);
  if (scale.dtype != DType::f8_e8m0) {
    fail(checkpoint, scales, fmt::format("scales are {}", scale.type()));
  }
  if (weight.shape.size() != 2) fail(checkpoint, name, "FP4 is supported only for matrices");
  const std::int64_t rows = weight.shape[0], across = blocks_of(2 * weight.shape[1], kColumns);
  if (scale.shape != std::vector<std::int64_t>{rows, across}) {
    fail(checkpoint, scales,
         fmt::format("its shape is {}, but {} pairs of numbers take {}", shape_text(scale.shape),
                     shape_text(weight.shape), shape_text({rows, across})));
  }
  return {1, kColumns, rows, across};
}

// The block size that config.json states if it explains the scale's shape, else one that divides.
Blocks blocks_for(const ModelConfig& config, const Checkpoint& checkpoint,
                  const std::string& name) {
  const RawTensor& weight = checkpoint.tensor(name);
  if (weight.dtype == DType::i8) return blocks_of_pairs(config, checkpoint, name);
  const std::string scales = scale_name(*config.family, name);
  if (!checkpoint.contains(scales)) {
    fail(checkpoint, name, "it is F8_E4M3 and " + scales + " is missing");
  }
  const RawTensor& scale = checkpoint.tensor(scales);
  if (scale.dtype != DType::f32 && scale.dtype != DType::bf16 && scale.dtype != DType::f8_e8m0) {
    fail(checkpoint, scales, fmt::format("scales are {}", scale.type()));
  }
  if (weight.shape.size() != 2) fail(checkpoint, name, "F8_E4M3 is supported only for matrices");
  const std::int64_t rows = weight.shape[0], cols = weight.shape[1];
  const std::int64_t scale_rows = scale.shape.empty() ? 1 : scale.shape[0];
  const std::int64_t scale_cols = scale.shape.size() == 2 ? scale.shape[1] : 1;
  if (scale.shape.size() == 2 && scale_rows == blocks_of(rows, config.fp8_block_rows) &&
      scale_cols == blocks_of(cols, config.fp8_block_cols)) {
    return {config.fp8_block_rows, config.fp8_block_cols, scale_rows, scale_cols};
  }
  if (scale.shape.size() <= 2 && scale_rows > 0 && scale_cols > 0 && rows % scale_rows == 0 &&
      cols % scale_cols == 0) {
    return {rows / scale_rows, cols / scale_cols, scale_rows, scale_cols};
  }
  fail(checkpoint, scales,
       fmt::format("its shape {} does not divide {} into blocks", shape_text(scale.shape),
                   shape_text(weight.shape)));
}

void multiply_blocks(const Blocks& blocks, const std::vector<float>& scales, std::int64_t rows,
                     std::int64_t cols, std::vector<float>& values) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t scale_row = i / blocks.rows * blocks.scale_cols;
    for (std::int64_t j = 0; j < cols; ++j) {
      values[static_cast<std::size_t>(i * cols + j)] *=
          scales[static_cast<std::size_t>(scale_row + j / blocks.cols)];
    }
  }
}

void check_finite(const Checkpoint& checkpoint, const std::string& name,
                  const std::vector<float>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw InputError({"a weight is not finite", checkpoint.where(name),
                      fmt::format("element {} of {} is {}", i,
                                  shape_text(checkpoint.tensor(name).shape), values[i]),
                      "download or convert the checkpoint again"});
  }
}

}  // namespace

void check_readable(const ModelConfig& config, const Checkpoint& checkpoint,
                    const std::string& name) {
  switch (const RawTensor& tensor = checkpoint.tensor(name); tensor.dtype) {
    case DType::f32:
    case DType::bf16:
    case DType::f16:
      return;
    case DType::f8_e4m3:
    case DType::i8:
      blocks_for(config, checkpoint, name);
      return;
    default:
      fail(checkpoint, name, fmt::format("its dtype is {}", tensor.type()));
  }
}

std::string scale_name(const Family& family, const std::string& name) {
  constexpr std::string_view kWeight = "weight";
  if (!family.short_scales || !name.ends_with(kWeight)) return name + "_scale_inv";
  return name.substr(0, name.size() - kWeight.size()) + "scale";
}

std::vector<float> widen(DType dtype, std::span<const std::byte> bytes) {
  std::vector<float> out;
  switch (dtype) {
    case DType::f32:
      convert_all<float>(
          bytes, [](float v) { return v; }, out);
      return out;
    case DType::bf16:
      convert_all<std::uint16_t>(bytes, bf16_to_float, out);
      return out;
    case DType::f16:
      convert_all<std::uint16_t>(bytes, f16_to_float, out);
      return out;
    case DType::f8_e4m3:
      convert_all<std::uint8_t>(bytes, e4m3_to_float, out);
      return out;
    case DType::f8_e8m0:
      convert_all<std::uint8_t>(bytes, e8m0_to_float, out);
      return out;
    case DType::i8:
      for (const std::byte pair : bytes) {
        const auto bits = std::to_integer<std::uint8_t>(pair);
        out.push_back(e2m1_to_float(bits & 0xf));
        out.push_back(e2m1_to_float(bits >> 4));
      }
      return out;
    default:
      throw InternalError({"an integer tensor was requested as floats", "", "", ""});
  }
}

StoredMatrix stored_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                           const std::string& name) {
  const RawTensor& tensor = checkpoint.tensor(name);
  StoredMatrix stored;
  stored.dtype = tensor.dtype;
  stored.cols = tensor.shape.empty() ? 1 : tensor.shape.back();  // of one number
  stored.rows = stored.cols == 0 ? 0 : tensor.elements() / stored.cols;
  if (tensor.dtype == DType::i8) stored.cols *= 2;
  if (has_scales(tensor.dtype)) {
    const Blocks blocks = blocks_for(config, checkpoint, name);
    stored.block_rows = blocks.rows;
    stored.block_cols = blocks.cols;
  }
  return stored;
}

void check_table(const ModelConfig& config, const Checkpoint& checkpoint, const std::string& name) {
  const std::vector<std::byte> bytes = checkpoint.read(name);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::int64_t)) {
    std::int64_t expert;
    std::memcpy(&expert, bytes.data() + at, sizeof(expert));
    if (expert >= 0 && expert < config.routed_experts) continue;
    throw InputError(
        {"a table names an expert that does not exist", checkpoint.where(name),
         fmt::format("element {} of {} is {}, but there are {} experts", at / sizeof(expert),
                     shape_text(checkpoint.tensor(name).shape), expert, config.routed_experts),
         "download or convert the checkpoint again"});
  }
}

std::vector<float> read_floats(const ModelConfig& config, const Checkpoint& checkpoint,
                               const std::string& name) {
  const RawTensor& tensor = checkpoint.tensor(name);
  std::vector<float> values = widen(tensor.dtype, checkpoint.read(name));
  if (has_scales(tensor.dtype)) {
    const Blocks blocks = blocks_for(config, checkpoint, name);
    const std::string scales = scale_name(*config.family, name);
    const StoredMatrix stored = stored_matrix(config, checkpoint, name);
    multiply_blocks(blocks, widen(checkpoint.tensor(scales).dtype, checkpoint.read(scales)),
                    stored.rows, stored.cols, values);
  }
  check_finite(checkpoint, name, values);
  return values;
}

}  // namespace indexcache
