// SPDX-License-Identifier: Apache-2.0
// Products of rows with a weight matrix, whatever type the weight has.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/arithmetic/matrix.h"

namespace indexcache::cpu {

// out (+)= x weight^T; x [n, in], weight [out, in] in float32, or in FP8 with scales. Then rows of
// x are quantized in groups of 128 columns (docs/numerics.md, FP8). A row's bits depend on nothing
// else in x.
void product(const MatrixMap& x, const Tensor& weight, Store store, MatrixMap& out);

}  // namespace indexcache::cpu
