// SPDX-License-Identifier: Apache-2.0
// What operations that train an indexer take and give: its gradients, and a step of Adam.
#pragma once

#include "backend/tensor.h"

#include <cstdint>
#include <vector>

namespace indexcache {

// What the scores of an indexer are made of: score(t, u) = scale * sum_h head_weights[t, h] *
// ReLU(queries[t, h] . keys[u]). Unlike for a selection, the positive scale matters, because it is
// the temperature of the softmax.
struct IndexScores {
  Tensor queries;       // activation() [rows, Ni * Di], rotated
  Tensor head_weights;  // f32 [rows, Ni]
  Tensor keys;          // activation() [key_rows, Di], rotated
  float scale;          // Ni^-0.5 * Di^-0.5
};

// What the indexer shall imitate: probabilities are scale * sums.
struct IndexTarget {
  Tensor sums;  // f32 [rows, candidates], of mean_attention(); not read beyond a row's candidates
  float scale;  // 1 / (layers that were added up)
};

// Gradients of the loss with respect to the parts of IndexScores; all f32.
struct IndexGradients {
  Tensor queries;       // [rows, Ni * Di], assigned
  Tensor head_weights;  // [rows, Ni], assigned
  Tensor keys;          // [key_rows, Di], added to: queries of other calls have the same keys
};

// One step of Adam with bias correction (arXiv 1412.6980), for parameters [rows, n]. A row is an
// independent problem.
struct AdamStep {
  float rate;
  float beta1, beta2;
  float epsilon;
  std::int64_t step;          // counts from 1
  std::vector<float> scales;  // [rows], of the gradients of each row: what clipping leaves
};

}  // namespace indexcache
