// SPDX-License-Identifier: Apache-2.0
#include "model/block_fp8.h"

#include "backend/scale_blocks.h"
#include "model/dequantize.h"

#include <algorithm>

namespace indexcache {
namespace {

constexpr std::int64_t kGrain = 16;

bool is_stored_in_blocks(const ModelConfig& config, const Checkpoint& checkpoint,
                         const std::string& name) {
  if (checkpoint.tensor(name).dtype != DType::f8_e4m3) return false;
  const StoredMatrix stored = stored_matrix(config, checkpoint, name);
  return stored.block_rows == kScaleBlock && stored.block_cols == kScaleBlock;
}

}  // namespace

bool is_fp8_product(const WeightRow& row) {
  return row.quantized && row.form == WeightForm::matrix;
}

bool fits_fp8_product(const WeightRow& row) {
  return row.rows % kGrain == 0 && row.cols % kGrain == 0 &&
         (row.names.size() == 1 || row.rows % kScaleBlock == 0);
}

bool stays_fp8(const ModelConfig& config, const Checkpoint& checkpoint, const WeightRow& row) {
  if (!is_fp8_product(row) || !fits_fp8_product(row)) return false;
  for (std::int64_t expert = 0; expert < std::max<std::int64_t>(row.experts, 1); ++expert) {
    for (const std::string& name : row.names) {
      if (!is_stored_in_blocks(config, checkpoint, expert_name(name, expert))) return false;
    }
  }
  return true;
}

}  // namespace indexcache
