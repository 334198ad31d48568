// SPDX-License-Identifier: Apache-2.0
// Lightning-indexer scores of chosen candidates: as indexer_logits.h, for a list of queries with a
// run of keys each. Pair i of the list asks for
//   logits[pair.row, pair.column + u] = score(query pair.row, key pair.first_key + u), u <
//   pair.keys
// A group is some consecutive pairs with the same first key; only groups that are full of pairs
// exist, and pairs without keys fill them. Grouping by keys instead of by query halves what is read
// or better: a query's heads are as many bytes as 64 keys, or fewer.
//
// Two kernels compute it, each with a size of groups of its own:
//   bf16, e4m3  candidate_logits_sm90.cu on Hopper, for the shapes of indexer_logits_sm90.cu and
//               with the same bits
//   else        candidate_logits.cu: CUDA cores, float32; the bits of indexer_logits_f32.cu for f32
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct alignas(16) CandidatePair {
  int row;        // in queries and logits
  int column;     // of its first score in the row
  int first_key;  // row in the key tensor
  int keys;       // 0: nothing is written
};

struct CandidateLogitsParams {
  const void* queries;  // type [rows, heads, width], 16-byte aligned
  const void* keys;     // type [key rows, width], 16-byte aligned
  Type type;
  const float* head_weights;  // [rows, heads], 16-byte aligned for wgmma
  const float* key_scales;    // [key rows] for e4m3, else null
  float* logits;              // [rows, logits_stride]
  std::int64_t logits_stride;
  const CandidatePair* pairs;  // [groups * candidate_group(...)]
  const int* groups;           // on the device: how many there are
  int heads;
  int width;  // as for indexer_logits
};

// Pairs of a group for these operands on this device.
int candidate_group(Type type, int heads, int width);

cudaError_t candidate_logits(const CandidateLogitsParams& params, cudaStream_t stream);

// The kernels by themselves, for tests and benchmarks.
inline constexpr int kGeneralCandidateGroup = 16;
cudaError_t candidate_logits_general(const CandidateLogitsParams& params, cudaStream_t stream);
bool candidate_logits_sm90_applies(Type type, int heads, int width);
int candidate_group_sm90(int heads);
cudaError_t candidate_logits_sm90(const CandidateLogitsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
