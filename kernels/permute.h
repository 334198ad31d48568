// SPDX-License-Identifier: Apache-2.0
// Rows grouped by the expert they go to, and back. Slots of an expert are consecutive and hold its
// rows in ascending order, so that the grouping is the same on every run.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

// Rows that are counted together.
inline constexpr std::int64_t kPermuteRun = 64;
constexpr std::int64_t permute_runs(std::int64_t rows) {
  return (rows + kPermuteRun - 1) / kPermuteRun;
}

struct PermuteParams {
  const std::int32_t* chosen;  // [rows, used], each in [0, experts)
  std::int64_t rows;
  int used;                 // at most kMostExpertsUsed, no expert twice in a row
  int experts;              // at most kMostExperts
  std::int32_t* counts;     // [experts] rows of each expert
  std::int32_t* slot_of;    // [rows, used]
  std::int32_t* run_slots;  // [permute_runs(rows), experts] scratch
};

// Counts, the first slots of every run, then slots.
cudaError_t permute(const PermuteParams& params, cudaStream_t stream);

// Rows of a matrix and where they go; sizes in bytes, even ones.
struct ScatteredRows {
  const void* x;  // [rows], `stride` apart
  std::int64_t stride;
  void* out;  // [slots], without gaps
  std::int64_t width;
};

inline constexpr int kMostScattered = 2;

struct ScatterParams {
  ScatteredRows rows_of[kMostScattered];
  int matrices;                 // of rows_of that there are
  const std::int32_t* slot_of;  // [rows, used]
  std::int64_t rows;
  int used;  // at most kMostExpertsUsed
};

// out[slot_of[row, i]] = x[row] for every i and every matrix.
cudaError_t scatter(const ScatterParams& params, cudaStream_t stream);

struct CombineParams {
  const void* y;  // type [slots, width]
  Type type;
  const std::int32_t* slot_of;  // [rows, used]
  const float* weights;         // [rows, used]
  float* out;                   // [rows, width]
  std::int64_t out_stride;
  std::int64_t rows, width;
  int used;
};

// out[row] += sum over i of weights[row, i] * y[slot_of[row, i]], i ascending, in float32.
cudaError_t combine(const CombineParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
