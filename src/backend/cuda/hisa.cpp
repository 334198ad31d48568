// SPDX-License-Identifier: Apache-2.0
// HISA: means of blocks of keys, their scores (those of keys that represent a block each), the
// choice of blocks, and scores and top-k of the keys in them. Queries whose blocks are all chosen
// take the path of the exact indexer.
#include "backend/cuda/cuda_backend.h"
#include "backend/hisa_layout.h"
#include "backend/row_chunks.h"
#include "kernels/candidate_logits.h"
#include "kernels/common_members.h"
#include "kernels/hisa_blocks.h"
#include "kernels/pool_keys.h"

#include <algorithm>

namespace indexcache {
namespace {

// Queries of a chunk are read once per block that they choose: they should stay in the L2 cache,
// next to the keys.
constexpr std::int64_t kQueryBytes = std::int64_t{16} << 20;

std::int64_t in_fours(std::int64_t columns) {
  return (columns + 3) / 4 * 4;
}

}  // namespace

// Sizes of what a chunk of rows needs, with at most `longest` candidates each.
struct HisaSizes {
  HisaSizes(const Hisa& hisa, std::int64_t longest, std::int64_t pairs_of_group)
      : blocks(hisa.blocks_of(longest)),
        words((blocks + 31) / 32),
        block_stride(in_fours(std::max<std::int64_t>(longest / hisa.block, 1))),
        stride(in_fours(hisa.blocks * hisa.block)),
        group(pairs_of_group),
        chosen(hisa.blocks) {}

  std::int64_t pairs(std::int64_t rows) const { return rows * chosen + blocks * (group - 1); }
  std::int64_t row_bytes() const {
    const std::int64_t pair = sizeof(kernels::CandidatePair), place = sizeof(kernels::RowPlace);
    return 4 * (block_stride + stride + chosen + 2 * words) + place + pair * chosen;
  }
  std::int64_t fixed_bytes() const {
    return blocks * (group - 1) * static_cast<std::int64_t>(sizeof(kernels::CandidatePair)) +
           4 * (blocks + 1);
  }
  std::int64_t rows_at_once(std::int64_t bytes, std::int64_t query_bytes) const {
    return std::min(bytes / row_bytes(), kQueryBytes / query_bytes);
  }

  std::int64_t blocks;        // of keys
  std::int64_t words;         // of a row's bitmap of blocks
  std::int64_t block_stride;  // of scores of blocks
  std::int64_t stride;        // of scores of candidates
  std::int64_t group;         // pairs
  std::int64_t chosen;        // blocks of a row
};

// Queries of one sequence that have more blocks than are chosen.
struct CudaBackend::HisaPart {
  const IndexOperands& in;
  Hisa hisa;
  std::int64_t first_row;  // in the operands
  RowLayout rows, keys, blocks = {};
  HisaSizes sizes;
  Operand means = {};
  // Of the rows of a chunk.
  Tensor block_scores = {}, logits = {}, chosen = {}, of_logits = {}, marks = {}, earlier = {};
  Tensor counts = {}, pairs = {}, groups = {};
};

// Scores of blocks, the chosen ones, and pairs of rows and blocks by block. `first` counts in the
// rows of the part.
void CudaBackend::choose_blocks(const HisaPart& part, std::int64_t first, std::int64_t rows) {
  RowLayout chunk = part.rows;
  Segment& segment = chunk.segments.front();
  segment.first_position = segment.position(first);
  segment.rows = chunk.total = rows;
  score_candidates(part.in, part.first_row + first, part.means, layouts_.get(chunk, part.blocks),
                   part.block_scores);
  const Operation operation(*this, Component::indexer_logits);
  // Asked for every time: the cache forgets what was not asked for lately.
  const kernels::RowPlace* places = layouts_.get(part.rows, part.keys).places + first;
  const auto block = static_cast<int>(part.hisa.block);
  INDEXCACHE_CUDA(kernels::choose_blocks({.scores = part.block_scores.data<float>(),
                                          .stride = part.block_scores.stride(),
                                          .places = places,
                                          .rows = rows,
                                          .block = block,
                                          .blocks = static_cast<int>(part.hisa.blocks),
                                          .chosen = part.chosen.data<std::int32_t>(),
                                          .of_logits = part.of_logits.data<kernels::RowPlace>(),
                                          .marks = part.marks.data<std::uint32_t>(),
                                          .earlier = part.earlier.data<std::int32_t>(),
                                          .words = static_cast<int>(part.sizes.words)},
                                         stream_.get()));
  INDEXCACHE_CUDA(kernels::group_blocks({.places = places,
                                         .marks = part.marks.data<std::uint32_t>(),
                                         .earlier = part.earlier.data<std::int32_t>(),
                                         .rows = rows,
                                         .all_blocks = static_cast<int>(part.sizes.blocks),
                                         .block = block,
                                         .group = static_cast<int>(part.sizes.group),
                                         .counts = part.counts.data<int>(),
                                         .pairs = part.pairs.data<kernels::CandidatePair>(),
                                         .groups = part.groups.data<int>()},
                                        stream_.get()));
}

void CudaBackend::score_chosen(const HisaPart& part, std::int64_t first) {
  const Operation operation(*this, Component::indexer_logits);
  const std::int64_t row = part.first_row + first;
  INDEXCACHE_CUDA(kernels::candidate_logits({.queries = part.in.queries_from(row),
                                             .keys = part.in.keys.values.data<void>(),
                                             .type = part.in.type,
                                             .head_weights = part.in.head_weights_from(row),
                                             .key_scales = part.in.keys.scales.data<float>(),
                                             .logits = part.logits.data<float>(),
                                             .logits_stride = part.logits.stride(),
                                             .pairs = part.pairs.data<kernels::CandidatePair>(),
                                             .groups = part.groups.data<int>(),
                                             .heads = static_cast<int>(part.in.heads),
                                             .width = static_cast<int>(part.in.width)},
                                            stream_.get()));
}

void CudaBackend::select_by_hisa(const HisaPart& part, const Tensor& sets) {
  const std::int64_t at_once = part.logits.rows();
  for (std::int64_t first = 0; first < part.rows.total; first += at_once) {
    const std::int64_t rows = std::min(at_once, part.rows.total - first);
    choose_blocks(part, first, rows);
    score_chosen(part, first);
    const Tensor out = sets.row_range(first, rows);
    take_top_k(part.logits, part.of_logits.data<kernels::RowPlace>(), part.logits.cols(), out);
    const Operation operation(*this, Component::top_k);
    INDEXCACHE_CUDA(kernels::place_in_blocks({.chosen = part.chosen.data<std::int32_t>(),
                                              .sets = out.data<std::int32_t>(),
                                              .sets_stride = out.stride(),
                                              .rows = rows,
                                              .k = static_cast<int>(out.cols()),
                                              .block = static_cast<int>(part.hisa.block),
                                              .blocks = static_cast<int>(part.hisa.blocks)},
                                             stream_.get()));
  }
}

CudaBackend::Operand CudaBackend::pooled_keys(const IndexOperands& in, const Segment& keys,
                                              const Hisa& hisa) {
  const Operation operation(*this, Component::indexer_logits);
  const std::int64_t blocks = keys.rows / hisa.block;
  const Operand& all = in.keys;
  const bool scaled = !all.scales.empty();
  Operand means{allocate(blocks, in.width, all.values.dtype()),
                scaled ? allocate(blocks, 1, DType::f32) : Tensor()};
  const auto bytes = static_cast<std::int64_t>(size_of(all.values.dtype()));
  INDEXCACHE_CUDA(kernels::pool_keys(
      {.keys = all.values.data<char>() + keys.first_row * in.width * bytes,
       .key_scales = scaled ? all.scales.data<float>() + keys.first_row : nullptr,
       .type = in.type,
       .means = means.values.data<void>(),
       .mean_scales = means.scales.data<float>(),
       .blocks = blocks,
       .block = static_cast<int>(hisa.block),
       .width = static_cast<int>(in.width)},
      stream_.get()));
  return means;
}

// `segment`: queries of one sequence that have more blocks than are chosen.
void CudaBackend::select_by_hisa(const IndexOperands& in, const Hisa& hisa, const Segment& segment,
                                 const Segment& keys, const Tensor& sets) {
  const std::int64_t longest = keys.candidates(segment.last_position());
  const HisaSizes sizes(
      hisa, longest,
      kernels::candidate_group(in.type, static_cast<int>(in.heads), static_cast<int>(in.width)));
  HisaPart part{.in = in,
                .hisa = hisa,
                .first_row = segment.first_row,
                .rows = {{segment}, segment.rows},
                .keys = {{keys}, keys.rows},
                .sizes = sizes};
  part.rows.segments.front().first_row = 0;
  part.blocks = complete_blocks(part.keys, hisa);
  part.means = pooled_keys(in, keys, hisa);
  const std::int64_t query_bytes =
      in.heads * in.width * static_cast<std::int64_t>(size_of(in.queries.values.dtype()));
  const std::int64_t fitting = sizes.rows_at_once(logits_chunk(), query_bytes);
  const std::int64_t rows = std::min(std::max(fitting, kChunkGrain), segment.rows);
  part.block_scores = allocate(rows, sizes.block_stride);
  part.logits = allocate(rows, sizes.stride);
  part.chosen = allocate(rows, hisa.blocks, DType::i32);
  part.of_logits = allocate(rows, sizeof(kernels::RowPlace) / 4, DType::i32);
  part.marks = allocate(rows, sizes.words, DType::i32);
  part.earlier = allocate(rows, sizes.words, DType::i32);
  part.counts = allocate(sizes.blocks, 1, DType::i32);
  part.pairs = allocate(sizes.pairs(rows), sizeof(kernels::CandidatePair) / 4, DType::i32);
  part.groups = allocate(1, 1, DType::i32);
  select_by_hisa(part, sets);
}

void CudaBackend::hisa_topk(const RowLayout& rows, const Tensor& queries,
                            const Tensor& head_weights, const RowLayout& key_rows,
                            const Tensor& keys, const Hisa& hisa, const Tensor& sets) {
  if (rows.total == 0) return;
  const IndexOperands in = index_operands(queries, head_weights, keys);
  if (hisa.takes_all(layouts_.get(rows, key_rows).most_keys)) {
    return select_exactly(in, 0, rows, key_rows, sets);
  }
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment& segment = rows.segments[s];
    const Segment& of_keys = key_rows.segments[s];
    const std::int64_t exact = rows_taking_all(segment, of_keys, hisa);
    const auto part = [&](std::int64_t first, std::int64_t count) {
      return Segment{segment.first_row + first, count, segment.position(first), segment.step};
    };
    if (exact > 0) {
      RowLayout layout{{part(0, exact)}, exact};
      layout.segments.front().first_row = 0;
      select_exactly(in, segment.first_row, layout, {{of_keys}, of_keys.rows},
                     sets.row_range(segment.first_row, exact));
    }
    if (exact == segment.rows) continue;
    const Segment rest = part(exact, segment.rows - exact);
    select_by_hisa(in, hisa, rest, of_keys, sets.row_range(rest.first_row, rest.rows));
  }
}

std::int64_t CudaBackend::hisa_bytes(const ModelShape& shape, std::int64_t rows,
                                     std::int64_t longest) const {
  if (!shape.indexer || shape.indexer->takes_all(longest)) return 0;
  const HisaSizes sizes(*shape.indexer, longest, kernels::kGeneralCandidateGroup);
  const std::int64_t at_once =
      std::min(std::max(logits_chunk() / sizes.row_bytes(), kChunkGrain), rows);
  return at_once * sizes.row_bytes() + sizes.fixed_bytes();
}

std::vector<std::int32_t> CudaBackend::common_counts(const Tensor& a, const Tensor& b) {
  const Operation operation(*this, Component::other);
  std::vector<std::int32_t> counts(static_cast<std::size_t>(a.rows()));
  if (counts.empty()) return counts;
  const Tensor out = allocate(a.rows(), 1, DType::i32);
  INDEXCACHE_CUDA(kernels::common_members({.a = a.data<std::int32_t>(),
                                           .b = b.data<std::int32_t>(),
                                           .a_stride = a.stride(),
                                           .b_stride = b.stride(),
                                           .rows = a.rows(),
                                           .k = static_cast<int>(a.cols()),
                                           .counts = out.data<std::int32_t>()},
                                          stream_.get()));
  download_raw(out, counts.data());
  return counts;
}

}  // namespace indexcache
