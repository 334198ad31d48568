// SPDX-License-Identifier: Apache-2.0
// How weights are stored, and their values as float32: FP8 is multiplied by its block scales.
#pragma once

#include "backend/weight_uploader.h"
#include "io/checkpoint.h"
#include "model/config.h"

#include <span>
#include <string>
#include <vector>

namespace indexcache {

// Throws InputError unless `name` has a dtype that backends convert and, for F8_E4M3, a scale
// tensor of a usable shape and dtype. Reads headers only.
void check_readable(const ModelConfig& config, const Checkpoint& checkpoint,
                    const std::string& name);

// Dtype, shape and blocks of a matrix, or of a stack of them (its leading extents become rows); its
// offsets in a blob are not set. Reads headers only.
StoredMatrix stored_matrix(const ModelConfig& config, const Checkpoint& checkpoint,
                           const std::string& name);

// Whether a dtype has scales beside it: F8_E4M3, and I8, which is FP4.
constexpr bool has_scales(DType dtype) {
  return dtype == DType::f8_e4m3 || dtype == DType::i8;
}

// The tensor that holds the scales of such a tensor.
std::string scale_name(const Family& family, const std::string& name);

// Stored numbers as float32, of I8 two from each; `bytes` need not be aligned. Not integers.
std::vector<float> widen(DType dtype, std::span<const std::byte> bytes);

// Throws InputError unless every number of an I64 table is that of one of the experts.
void check_table(const ModelConfig& config, const Checkpoint& checkpoint, const std::string& name);

// All elements, row-major. F8_E4M3: W[i, j] = e4m3(W[i, j]) * scale_inv[i / bi][j / bj]; the last
// blocks may be partial. Throws InputError naming the tensor when an element is not finite.
std::vector<float> read_floats(const ModelConfig& config, const Checkpoint& checkpoint,
                               const std::string& name);

}  // namespace indexcache
