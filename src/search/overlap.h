// SPDX-License-Identifier: Apache-2.0
// How much the top-k sets of layers agree (IndexCache, arXiv 2603.12201, section 3.1).
//
// overlap(i, j) = mean over queries of |A ∩ B| / min(k, t + 1), over the queries that drop
// something (t + 1 > k, where the divisor is k). A layer without an indexer counts with the set it
// inherits. Sums are integers, so they do not depend on any order.
#pragma once

#include "backend/backend.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

// Layers [first, last] whose sets agree more with each other than layers do on average.
struct OverlapBlock {
  std::size_t first;
  std::size_t last;
};

struct Overlap {
  std::size_t layers = 0;
  std::int64_t index_topk = 0;
  std::vector<std::int64_t> bucket_ends;  // positions below bucket_ends[b], ascending
  std::vector<std::int64_t> queries;      // [buckets]
  std::vector<std::int64_t> counts;       // [buckets, L, L] summed |A ∩ B|
  std::int64_t query_step = 1;            // every query_step-th position was measured

  // Fraction in [0, 1]; over one bucket or, without it, over all queries.
  double mean(std::size_t i, std::size_t j) const;
  double mean(std::size_t i, std::size_t j, std::size_t bucket) const;

  std::vector<double> matrix() const;                      // [L, L]
  std::vector<double> bucket_matrix(std::size_t b) const;  // [L, L]
  std::vector<double> adjacent() const;                    // [L - 1] overlap(l, l + 1)
};

// Ends of position buckets: 2p, 4p, 8p, … of the first position p that selects, up to the first end
// that reaches `longest`.
std::vector<std::int64_t> position_buckets(std::int64_t first_selecting, std::int64_t longest);

// Adds counts of other sequences, measured in the same way.
Overlap& operator+=(Overlap& overlap, const Overlap& more);

// Adds one batch of queries to `overlap`; sets[l] as in Backend::overlap_counts.
void accumulate(Overlap& overlap, Backend& backend, const RowLayout& rows,
                const std::vector<Tensor>& sets);

// The cut of the layers into runs that maximizes the sum, over pairs inside a run, of overlap minus
// a level halfway between the mean of all pairs and the mean of neighbors; runs of two and more
// layers are returned.
std::vector<OverlapBlock> find_blocks(const Overlap& overlap);

}  // namespace indexcache
