// SPDX-License-Identifier: Apache-2.0
// The choice of HISA's blocks (docs/numerics.md) and what follows from it, for rows of one sequence
// each of which has more blocks than are chosen:
//   choose_blocks   scores of blocks -> the chosen ones of every row
//   group_blocks    rows by block: the list that candidate_logits.h takes
//   place_in_blocks columns of a row's candidate logits -> positions
// A row's logits contain its chosen blocks in ascending order, without gaps: all of them are
// complete, but perhaps the last. Column i is position chosen[i / block] * block + i % block.
#pragma once

#include "kernels/candidate_logits.h"

namespace indexcache::kernels {

struct ChooseBlocksParams {
  const float* scores;  // [rows, stride] of complete blocks, no NaN
  std::int64_t stride;
  const RowPlace* places;  // [rows]
  std::int64_t rows;
  int block;              // keys
  int blocks;             // chosen of a row, at least 2: the first, the last, and the best in bf16
  std::int32_t* chosen;   // [rows, blocks] ascending
  RowPlace* of_logits;    // [rows] what top_k() reads of the row's candidate logits
  std::uint32_t* marks;   // [words, rows]: bit i of word w is set if block 32 w + i is chosen
  std::int32_t* earlier;  // [words, rows]: chosen blocks in earlier words
  int words;              // for the blocks of all rows
};

cudaError_t choose_blocks(const ChooseBlocksParams& params, cudaStream_t stream);

struct GroupBlocksParams {
  const RowPlace* places;       // [rows], of one sequence
  const std::uint32_t* marks;   // as choose_blocks() writes them
  const std::int32_t* earlier;  // likewise
  std::int64_t rows;
  int all_blocks;        // of the row that has most
  int block;             // keys
  int group;             // pairs
  int* counts;           // [all_blocks] rows that chose a block
  CandidatePair* pairs;  // room for rows * blocks + all_blocks * (group - 1)
  int* groups;           // [1]
};

// Two launches: counts, then pairs. Rows of a block are in ascending order.
cudaError_t group_blocks(const GroupBlocksParams& params, cudaStream_t stream);

struct PlaceInBlocksParams {
  const std::int32_t* chosen;  // [rows, blocks]
  std::int32_t* sets;          // [rows, k]: columns, which become positions
  std::int64_t sets_stride;
  std::int64_t rows;
  int k, block, blocks;
};

cudaError_t place_in_blocks(const PlaceInBlocksParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
