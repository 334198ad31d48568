// SPDX-License-Identifier: Apache-2.0
// Which matrices of a checkpoint stay in FP8 on a device that multiplies them as deployed: those
// that only products read and whose blocks are the ones that such products know. The others are
// dequantized (docs/numerics.md, FP8).
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"
#include "model/weight_table.h"

namespace indexcache {

// Whether published FP8 checkpoints quantize the row, and only products read it: not kv_b, whose
// key rows are transposed, or what multiplies groups of heads.
bool is_fp8_product(const WeightRow& row);

// Whether the shapes allow it: rows and columns are multiples of 16, as devices copy 16 bytes at a
// time, and where matrices lie one above the other (gate, up), no block would reach into the next.
bool fits_fp8_product(const WeightRow& row);

// Whether the row stays in FP8: both of the above, and each of its tensors, for each of its
// experts, is stored as F8_E4M3 with blocks of 128 x 128. Reads headers only.
bool stays_fp8(const ModelConfig& config, const Checkpoint& checkpoint, const WeightRow& row);

}  // namespace indexcache
