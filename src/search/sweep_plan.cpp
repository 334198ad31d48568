// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_plan.h"

#include "backend/row_chunks.h"
#include "core/bytes.h"
#include "core/error.h"
#include "model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace indexcache {
namespace {

constexpr std::int64_t kMostChunkRows = 32768;  // more do not make products faster
constexpr std::int64_t kChunkShare = 4;         // of the memory, for what a chunk holds

std::int64_t sum(const std::array<std::int64_t, kMemoryKinds>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

// What decides the sizes of one sweep.
struct SweepShape {
  const ModelConfig& config;
  const Device& backend;
  const TokenSet& tokens;
  std::int64_t kept_row_bytes;
  bool trained;           // some patterns run other indexers than the checkpoint's
  std::int64_t compared;  // streams that are compared with a reference at a time; 0 without one
};

// Rows of some sequences before the first position that selects, and from there on.
struct Rows {
  std::int64_t prefix = 0;
  std::int64_t tail = 0;
};

Rows rows_of(const SweepShape& shape, std::span<const std::size_t> sequences) {
  Rows rows;
  for (const std::size_t s : sequences) {
    const auto length = static_cast<std::int64_t>(shape.tokens.sequences[s].size());
    const std::int64_t prefix = std::min(length, shape.config.first_selecting_position());
    rows.prefix += prefix;
    rows.tail += length - prefix;
  }
  return rows;
}

std::int64_t row_bytes(const SweepShape& shape) {
  return Decoder::row_bytes(shape.config, shape.backend);
}

// What the steps of a layer, the final norm, and losses or comparisons hold for themselves: one
// after the other. Logits are those of selections, losses and comparisons, and are not kept.
std::int64_t step_bytes(const SweepShape& shape, const Rows& rows, std::int64_t patterns,
                        std::int64_t chunk_rows) {
  const ModelConfig& c = shape.config;
  const Device& b = shape.backend;
  const std::int64_t longest = shape.tokens.longest();
  const std::int64_t most = std::max(rows.prefix, rows.tail);
  const std::int64_t chunk = std::min(chunk_rows, most);
  const std::int64_t fed = std::min(chunk_rows, rows.prefix + rows.tail);  // with the prefix rows
  const std::int64_t compared = std::min(patterns, shape.compared);
  const std::int64_t with_logits =
      std::max({chunk * Decoder::select_row_bytes(c, b), most * Decoder::loss_row_bytes(c, b),
                chunk * Decoder::compare_row_bytes(c, b, compared)}) +
      b.logits_bytes(c.shape(), most, longest);
  return b.scratch_bytes(c.shape(), most, longest) +
         std::max({with_logits, chunk * Decoder::attend_row_bytes(c, b),
                   fed * Decoder::feed_forward_row_bytes(c, b)});
}

std::array<std::int64_t, kMemoryKinds> bytes_of(const SweepShape& shape, const Rows& rows,
                                                std::size_t patterns, std::int64_t chunk_rows) {
  const ModelConfig& c = shape.config;
  const auto live = static_cast<std::int64_t>(patterns);
  const std::int64_t key_bytes = Decoder::key_row_bytes(c, shape.backend);
  const std::int64_t chunk = std::min(chunk_rows, std::max(rows.prefix, rows.tail));

  std::array<std::int64_t, kMemoryKinds> bytes{};
  const auto add = [&](Memory kind, std::int64_t count) {
    bytes[static_cast<std::size_t>(kind)] += count;
  };
  add(Memory::state, 4 * c.residual_width() * (live * rows.tail + rows.prefix));
  // The sets of every stream, and those of the stream that a layer is replacing. While a step runs,
  // the latter make room for what is not counted: tables of RoPE, and places of earlier layouts.
  add(Memory::index_sets, rows.tail * (4 * c.index_topk * (live + 1) + shape.kept_row_bytes));
  // One stream's keys at a time, beside those of the prefix rows; and a chunk's own. Without rows
  // that select nobody needs those of a stream.
  const std::int64_t of_stream = rows.tail == 0 ? 0 : rows.prefix + rows.tail;
  add(Memory::keys, (rows.prefix + of_stream + chunk) * key_bytes);
  // Keys of the prefix rows under a trained indexer.
  if (shape.trained) add(Memory::keys, rows.prefix * key_bytes);
  // Tokens, targets and places of rows.
  add(Memory::workspace, 24 * (rows.prefix + rows.tail) * 3);
  add(Memory::workspace, step_bytes(shape, rows, live, chunk_rows));
  if (c.dense) {
    // Of the sequences in a chunk only the first one may have begun before it.
    const std::int64_t seen = std::min(rows.prefix, shape.tokens.longest() + chunk);
    add(Memory::workspace, seen * Decoder::expanded_row_bytes(c, shape.backend));
  } else {
    // FP8 keys of the indexer exist beside the originals.
    add(Memory::workspace, (rows.prefix + rows.tail) * (2 * c.index_head_dim + 4));
  }
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

SweepPlanner::SweepPlanner(const ModelConfig& config, const Device& backend, const TokenSet& tokens,
                           SweepMemory memory, std::optional<Pattern> reference,
                           const SegmentIndexers* indexers)
    : config_(config),
      backend_(backend),
      tokens_(tokens),
      memory_(memory),
      reference_(std::move(reference)),
      indexers_(indexers) {}

PatternGroups SweepPlanner::groups(std::span<const Pattern> patterns, const SweepPlan& plan) const {
  const std::size_t most = plan.patterns - reference_count();
  PatternGroups groups;
  for (std::size_t p = 0; p < patterns.size(); p += most) {
    std::vector<Pattern>& group = groups.emplace_back();
    if (reference_) group.push_back(*reference_);
    const auto some = patterns.subspan(p, std::min(most, patterns.size() - p));
    group.insert(group.end(), some.begin(), some.end());
  }
  return groups;
}

SweepPlan SweepPlanner::plan(std::size_t patterns, std::int64_t kept_row_bytes) const {
  std::vector<std::size_t> all(tokens_.sequences.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return plan(patterns, all, kept_row_bytes);
}

SweepPlan SweepPlanner::plan(std::size_t patterns, std::span<const std::size_t> sequences,
                             std::int64_t kept_row_bytes) const {
  const SweepShape shape{config_,
                         backend_,
                         tokens_,
                         kept_row_bytes,
                         indexers_ != nullptr,
                         reference_ ? Decoder::compared_at_once(config_, backend_) : 0};
  const std::int64_t available = memory_.memory_bytes;
  const std::int64_t preferred = std::min(memory_.memory_bytes, memory_.wave_bytes);
  const std::size_t least = 1 + reference_count();
  SweepPlan plan{{}, patterns + reference_count(), chunk_rows_for(shape, preferred), {}, true};
  const std::size_t count = tokens_.sequences.size();
  const auto bytes = [&](std::span<const std::size_t> wave, std::size_t live) {
    return bytes_of(shape, rows_of(shape, wave), live, plan.chunk_rows);
  };
  const auto fits_alone = [&](std::size_t s, std::size_t live) {
    return sum(bytes(std::span(&s, 1), live)) <= available;
  };
  // Smaller chunks if not even one pattern (and the reference) fits beside them.
  const auto one_fits = [&] {
    bool fits = true;
    for (std::size_t s = 0; s < count; ++s) fits = fits && fits_alone(s, least);
    return fits;
  };
  while (plan.chunk_rows > kChunkGrain && !one_fits()) {
    plan.chunk_rows = std::max(plan.chunk_rows / 2 / kChunkGrain * kChunkGrain, kChunkGrain);
  }
  // Fewer patterns at a time until every sequence fits alone.
  for (std::size_t s = 0; s < count; ++s) {
    while (plan.patterns > least && !fits_alone(s, plan.patterns)) --plan.patterns;
    plan.fits = plan.fits && fits_alone(s, plan.patterns);
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (!plan.waves.empty()) {
      SequenceRange longer = plan.waves.back();
      ++longer.count;
      if (sum(bytes(sequences.subspan(longer.first, longer.count), plan.patterns)) <= preferred) {
        plan.waves.back() = longer;
        continue;
      }
    }
    plan.waves.push_back({i, 1});
  }
  for (const SequenceRange& wave : plan.waves) {
    const auto held = bytes(sequences.subspan(wave.first, wave.count), plan.patterns);
    for (std::size_t k = 0; k < kMemoryKinds; ++k) plan.bytes[k] = std::max(plan.bytes[k], held[k]);
  }
  return plan;
}

void SweepPlanner::require_fit(const SweepPlan& plan) const {
  if (!memory_.enforce || plan.fits) return;
  std::string parts;
  for (std::size_t k = 0; k < kMemoryKinds; ++k) {
    if (plan.bytes[k] == 0) continue;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", kMemoryNames[k],
                         bytes_text(plan.bytes[k]));
  }
  const std::int64_t fixed = plan.bytes[static_cast<std::size_t>(Memory::workspace)];
  const std::int64_t growing = std::max<std::int64_t>(plan.total() - fixed, 1);
  const std::int64_t room = std::max<std::int64_t>(memory_.memory_bytes - fixed, 0);
  const auto fitting =
      static_cast<std::int64_t>(static_cast<double>(tokens_.longest()) * static_cast<double>(room) /
                                static_cast<double>(growing));
  throw ResourceError(
      {"the sweep does not fit the device's memory",
       fmt::format("a sequence of {} tokens", tokens_.longest()),
       fmt::format("one pattern{} needs {} ({}), but the weights leave only {}",
                   reference_ ? " and the reference" : "", bytes_text(plan.total()), parts,
                   bytes_text(memory_.memory_bytes)),
       fmt::format("{}a larger --memory-limit or GPU, --weights stream or disk, --precision bf16",
                   fitting > config_.first_selecting_position()
                       ? fmt::format("sequences of at most about {} tokens, ", fitting)
                       : "")});
}

}  // namespace indexcache
