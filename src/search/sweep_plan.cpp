// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_plan.h"

#include "backend/row_chunks.h"
#include "model/decoder.h"

#include <algorithm>
#include <numeric>

namespace indexcache {
namespace {

constexpr std::int64_t kMostChunkRows = 16384;  // more do not make products faster
constexpr std::int64_t kChunkShare = 4;         // of the memory, for what a chunk holds

std::int64_t sum(const std::array<std::int64_t, kMemoryKinds>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

// Rows before and from index_topk on of some sequences.
struct Rows {
  std::int64_t dense = 0;
  std::int64_t tail = 0;
};

Rows rows_of(const SweepShape& shape, const SequenceRange& range) {
  Rows rows;
  for (std::size_t s = range.first; s < range.first + range.count; ++s) {
    const auto length = static_cast<std::int64_t>(shape.tokens.sequences[s].size());
    const std::int64_t dense = std::min(length, shape.config.index_topk);
    rows.dense += dense;
    rows.tail += length - dense;
  }
  return rows;
}

std::int64_t row_bytes(const SweepShape& shape) {
  return Decoder::row_bytes(shape.config, shape.backend);
}

std::array<std::int64_t, kMemoryKinds> bytes_of(const SweepShape& shape, const Rows& rows,
                                                std::size_t patterns, std::int64_t chunk_rows) {
  const ModelConfig& c = shape.config;
  const auto live = static_cast<std::int64_t>(patterns);
  const auto activation = static_cast<std::int64_t>(size_of(shape.backend.activation()));
  const auto index = static_cast<std::int64_t>(size_of(shape.backend.index_activation()));
  const std::int64_t key_bytes = c.latent_width() * activation + c.index_head_dim * index;
  const std::int64_t chunk = std::min(chunk_rows, std::max(rows.dense, rows.tail));
  const std::int64_t final_rows = std::max(rows.dense, rows.tail);

  std::array<std::int64_t, kMemoryKinds> bytes{};
  const auto add = [&](Memory kind, std::int64_t count) {
    bytes[static_cast<std::size_t>(kind)] += count;
  };
  add(Memory::state, 4 * c.hidden * (live * rows.tail + rows.dense));
  // The sets of every stream, and those of the stream that a layer is replacing.
  add(Memory::index_sets, rows.tail * (4 * c.index_topk * (live + 1) + shape.kept_row_bytes));
  // One stream's keys at a time, beside those of the dense rows; and a chunk's own.
  add(Memory::keys, (2 * rows.dense + rows.tail + chunk) * key_bytes);
  // Tokens, targets and places of rows; a layer's chunk, or the final norm and losses.
  const std::int64_t layouts = 24 * (rows.dense + rows.tail) * 3;
  add(Memory::workspace,
      layouts + shape.backend.scratch_bytes(c.shape(), final_rows, shape.tokens.longest()) +
          std::max(chunk * row_bytes(shape), final_rows * (c.hidden * activation + 8)));
  // FP8 keys of the indexer exist beside the originals.
  add(Memory::workspace, (rows.dense + rows.tail) * (2 * c.index_head_dim + 4));
  return bytes;
}

std::int64_t chunk_rows_for(const SweepShape& shape, std::int64_t available) {
  const std::int64_t rows = available / kChunkShare / row_bytes(shape);
  return std::clamp(rows / kChunkGrain * kChunkGrain, kChunkGrain, kMostChunkRows);
}

}  // namespace

std::int64_t SweepPlan::total() const {
  return sum(bytes);
}

SweepPlan plan_sweep(const SweepShape& shape, std::int64_t available, std::int64_t preferred,
                     std::size_t first) {
  SweepPlan plan{{}, shape.patterns, chunk_rows_for(shape, preferred), {}, true};
  const std::size_t count = shape.tokens.sequences.size();
  const auto needed = [&](const SequenceRange& range) {
    return sum(bytes_of(shape, rows_of(shape, range), plan.patterns, plan.chunk_rows));
  };
  // Smaller chunks where not even one pattern fits beside them.
  const auto one_fits = [&] {
    bool fits = true;
    for (std::size_t s = 0; s < count; ++s) {
      fits = fits && sum(bytes_of(shape, rows_of(shape, {s, 1}), 1, plan.chunk_rows)) <= available;
    }
    return fits;
  };
  while (plan.chunk_rows > kChunkGrain && !one_fits()) {
    plan.chunk_rows = std::max(plan.chunk_rows / 2 / kChunkGrain * kChunkGrain, kChunkGrain);
  }
  // Fewer patterns at a time until every sequence fits alone.
  for (std::size_t s = 0; s < count; ++s) {
    while (plan.patterns > 1 && needed({s, 1}) > available) --plan.patterns;
    plan.fits = plan.fits && needed({s, 1}) <= available;
  }
  for (std::size_t s = first; s < count; ++s) {
    if (!plan.waves.empty()) {
      SequenceRange longer = plan.waves.back();
      ++longer.count;
      if (needed(longer) <= preferred) {
        plan.waves.back() = longer;
        continue;
      }
    }
    plan.waves.push_back({s, 1});
  }
  for (const SequenceRange& wave : plan.waves) {
    const auto bytes = bytes_of(shape, rows_of(shape, wave), plan.patterns, plan.chunk_rows);
    for (std::size_t k = 0; k < kMemoryKinds; ++k) {
      plan.bytes[k] = std::max(plan.bytes[k], bytes[k]);
    }
  }
  return plan;
}

}  // namespace indexcache
