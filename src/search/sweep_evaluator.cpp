// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_evaluator.h"

#include "core/error.h"
#include "core/interrupt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {

// Some sequences of the token set. Each is cut at index_topk: `prefix` rows before it, `tail` rows
// from there on, `keys` all of them.
struct SweepEvaluator::Wave {
  std::size_t sequences;  // how many
  RowLayout prefix, tail, keys;
  Tensor prefix_tokens, tail_tokens;    // i32 [rows, 1]
  Tensor prefix_targets, tail_targets;  // i32 [rows, 1], -1 after the last token
  std::vector<RowChunk> prefix_chunks, tail_chunks;
};

// The common state of patterns that agree so far.
struct SweepEvaluator::Stream {
  std::vector<std::size_t> patterns;
  Tensor hidden;  // [tail rows, H]
  Tensor sets;    // i32 [tail rows, K] of the latest F layer
};

// Prefix rows of one layer: what the tail rows of every stream need of them.
struct SweepEvaluator::PrefixRows {
  Tensor hidden;
  KeyRows keys;
};

SweepEvaluator::SweepEvaluator(const ModelConfig& config, WeightSource& weights, Backend& backend,
                               const TokenSet& tokens, SweepMemory memory)
    : Evaluator(tokens.predicted()),
      config_(config),
      weights_(weights),
      backend_(backend),
      tokens_(tokens),
      planner_(config, backend, tokens, memory),
      decoder_(config, backend, tokens.longest()) {}

SweepEvaluator::Wave SweepEvaluator::make_wave(std::span<const std::size_t> sequences,
                                               std::int64_t chunk_rows) const {
  Wave wave{};
  wave.sequences = sequences.size();
  const std::int64_t k = config_.index_topk;
  std::vector<std::int32_t> ids[2], targets[2];
  for (const std::size_t s : sequences) {
    const auto& sequence = tokens_.sequences[s];
    const auto length = static_cast<std::int64_t>(sequence.size());
    wave.prefix.append(std::min(k, length), 0);
    wave.tail.append(std::max<std::int64_t>(length - k, 0), k);
    wave.keys.append(length, 0);
    for (std::int64_t t = 0; t < length; ++t) {
      const auto next = static_cast<std::size_t>(t) + 1;
      const int part = t < k ? 0 : 1;
      ids[part].push_back(sequence[static_cast<std::size_t>(t)]);
      targets[part].push_back(next < sequence.size() ? sequence[next] : -1);
    }
  }
  const auto column = [&](const std::vector<std::int32_t>& values) {
    return backend_.upload(values, static_cast<std::int64_t>(values.size()), 1);
  };
  wave.prefix_tokens = column(ids[0]);
  wave.tail_tokens = column(ids[1]);
  wave.prefix_targets = column(targets[0]);
  wave.tail_targets = column(targets[1]);
  wave.prefix_chunks = row_chunks(wave.prefix, chunk_rows);
  wave.tail_chunks = row_chunks(wave.tail, chunk_rows);
  return wave;
}

std::vector<SequenceLosses> SweepEvaluator::losses(const LossRequest& request) {
  return losses(request, nullptr);
}

std::vector<SequenceLosses> SweepEvaluator::losses(const LossRequest& request,
                                                   SweepObserver* observer) {
  std::vector<SequenceLosses> result(request.patterns.size());
  if (request.patterns.empty() || request.sequences.empty()) return result;
  const SweepPlan cut = planner_.plan(request.patterns.size(), request.sequences,
                                      observer == nullptr ? 0 : observer->kept_row_bytes());
  planner_.require_fit(cut);
  const PatternGroups groups = pattern_groups(request.patterns, cut.patterns);
  start_progress(cut, groups);
  for (const SequenceRange& range : cut.waves) {
    const auto sequences = request.sequences.subspan(range.first, range.count);
    const Wave wave = make_wave(sequences, cut.chunk_rows);
    std::vector<SequenceLosses> sums(request.patterns.size(), SequenceLosses(range.count, 0.0));
    std::size_t first = 0;
    for (const auto& group : groups) {
      sweep(wave, group, std::span(sums).subspan(first, group.size()), observer);
      first += group.size();
    }
    normalize(request.patterns, sequences, sums);
    for (std::size_t p = 0; p < sums.size(); ++p) {
      result[p].insert(result[p].end(), sums[p].begin(), sums[p].end());
    }
    if (request.part_done) request.part_done(sequences, sums);
  }
  return result;
}

// Sums of losses to means per token; refuses those that are not finite.
void SweepEvaluator::normalize(std::span<const Pattern> patterns,
                               std::span<const std::size_t> sequences,
                               std::vector<SequenceLosses>& sums) const {
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      sums[p][i] /= weights()[sequences[i]];
      if (std::isfinite(sums[p][i])) continue;
      throw InputError(
          {"the loss is not finite", fmt::format("{}: sequence {}", tokens_.source, sequences[i]),
           fmt::format("pattern {} gives {}", patterns[p].text(), sums[p][i]),
           "check the checkpoint: the forward pass overflows, or a weight is corrupt"});
    }
  }
}

void SweepEvaluator::start_progress(const SweepPlan& cut, const PatternGroups& groups) {
  visits_done_ = 0;
  visits_total_ = 0;
  for (const auto& group : groups) {
    const auto stream_layers = count_visits(group, config_.moe_layer).stream_layers();
    visits_total_ += cut.waves.size() * (static_cast<std::size_t>(stream_layers) + group.size());
  }
}

void SweepEvaluator::visit_done() {
  check_interrupt();
  ++visits_done_;
  if (progress_) progress_(visits_done_, visits_total_);
}

void SweepEvaluator::timed(Visit visit, std::size_t layer, const std::function<void()>& body) {
  if (!clock_) return body();
  clock_(visit, layer, backend_.measure(body));
}

void SweepEvaluator::sweep(const Wave& wave, std::span<const Pattern> patterns,
                           std::span<SequenceLosses> sums, SweepObserver* observer) {
  const auto embedded = [&](const RowLayout& rows, const Tensor& tokens) {
    Tensor hidden = backend_.allocate(rows.total, config_.hidden, DType::f32, Memory::state);
    backend_.embed(tokens, weights_.embedding(), hidden);
    return hidden;
  };
  PrefixRows prefix{embedded(wave.prefix, wave.prefix_tokens), {}};
  Stream root{{}, embedded(wave.tail, wave.tail_tokens), {}};
  for (std::size_t p = 0; p < patterns.size(); ++p) root.patterns.push_back(p);

  std::vector<Stream> streams;
  streams.push_back(std::move(root));
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config_.layers); ++layer) {
    const LayerWeights& weights = weights_.layer(static_cast<std::int64_t>(layer));
    const bool indexed = std::ranges::any_of(
        patterns, [&](const Pattern& pattern) { return pattern.is_full(layer); });
    prefix.keys = decoder_.allocate_keys(wave.prefix.total, indexed);
    timed(Visit::prefix, layer,
          [&] { fill_keys(weights, wave.prefix_chunks, prefix.hidden, wave.prefix, prefix.keys); });
    std::vector<Stream> next;
    for (Stream& stream : streams) {
      timed(visit_of(patterns, stream.patterns, layer), layer, [&] {
        branch(weights, wave, prefix, patterns, layer, std::exchange(stream, {}), next);
      });
    }
    streams = std::move(next);
    timed(Visit::prefix, layer, [&] { advance_prefix(weights, wave, prefix); });
    if (observer == nullptr) continue;
    observer->prefix_rows_done(layer, wave.prefix, prefix.hidden);
    for (const Stream& stream : streams) {
      observer->layer_done(layer, stream.patterns, wave.tail, stream.sets, stream.hidden);
    }
  }
  prefix.keys = {};

  const auto layers = static_cast<std::size_t>(config_.layers);
  std::vector<double> prefix_sums, tail_sums;
  timed(Visit::prefix_loss, layers, [&] {
    prefix_sums = decoder_.loss(weights_, wave.prefix, prefix.hidden, wave.prefix_targets);
  });
  for (const Stream& stream : streams) {
    timed(Visit::loss, layers, [&] {
      tail_sums = decoder_.loss(weights_, wave.tail, stream.hidden, wave.tail_targets);
    });
    for (std::size_t p : stream.patterns) {
      for (std::size_t s = 0; s < wave.sequences; ++s) {
        sums[p][s] = prefix_sums[s] + tail_sums[s];
      }
      visit_done();
    }
  }
}

// Keys of all rows of `hidden`, written to their positions in `keys`.
void SweepEvaluator::fill_keys(const LayerWeights& weights, const std::vector<RowChunk>& chunks,
                               const Tensor& hidden, const RowLayout& key_rows,
                               const KeyRows& keys) {
  for (const RowChunk& chunk : chunks) {
    const KeyRows part = decoder_.allocate_keys(chunk.rows.total, !keys.index_keys.empty());
    decoder_.keys(weights, chunk.rows, chunk.of(hidden), part);
    backend_.copy_rows(chunk.rows, part.latents, key_rows, keys.latents);
    if (keys.index_keys.empty()) continue;
    backend_.copy_rows(chunk.rows, part.index_keys, key_rows, keys.index_keys);
  }
}

void SweepEvaluator::advance_prefix(const LayerWeights& weights, const Wave& wave,
                                    const PrefixRows& prefix) {
  for (const RowChunk& chunk : wave.prefix_chunks) {
    const Tensor hidden = chunk.of(prefix.hidden);
    const QueryRows in = decoder_.queries(weights, chunk.rows, hidden);
    decoder_.attend(weights, chunk.rows, in, wave.prefix, prefix.keys.latents, Tensor(), hidden);
    decoder_.feed_forward(weights, chunk.rows, hidden);
  }
}

// Advances a stream by one layer; where its patterns differ, into two streams that share all that
// does not depend on the choice.
void SweepEvaluator::branch(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix,
                            std::span<const Pattern> patterns, std::size_t layer, Stream stream,
                            std::vector<Stream>& next) {
  Stream full, shared;
  for (std::size_t p : stream.patterns) {
    (patterns[p].is_full(layer) ? full : shared).patterns.push_back(p);
  }
  const bool runs_indexer = !full.patterns.empty(), reuses = !shared.patterns.empty();
  KeyRows keys = decoder_.allocate_keys(wave.keys.total, runs_indexer);
  backend_.copy_rows(wave.prefix, prefix.keys.latents, wave.keys, keys.latents);
  if (runs_indexer) {
    backend_.copy_rows(wave.prefix, prefix.keys.index_keys, wave.keys, keys.index_keys);
    full.sets =
        backend_.allocate(wave.tail.total, config_.index_topk, DType::i32, Memory::index_sets);
    full.hidden =
        !reuses ? stream.hidden
                : backend_.allocate(wave.tail.total, config_.hidden, DType::f32, Memory::state);
  }
  if (reuses) {
    shared.hidden = stream.hidden;
    shared.sets = std::exchange(stream.sets, {});
  }
  stream.sets = {};
  fill_keys(weights, wave.tail_chunks, stream.hidden, wave.keys, keys);

  const auto finish = [&](const RowChunk& chunk, const QueryRows& in, const Stream& branch) {
    const Tensor hidden = chunk.of(branch.hidden);
    decoder_.attend(weights, chunk.rows, in, wave.keys, keys.latents, chunk.of(branch.sets),
                    hidden);
    return hidden;
  };
  for (const RowChunk& chunk : wave.tail_chunks) {
    std::vector<Tensor> attended;
    {
      const Tensor hidden = chunk.of(stream.hidden);
      const QueryRows in = decoder_.queries(weights, chunk.rows, hidden);
      if (runs_indexer) {
        decoder_.select(weights, chunk.rows, in, wave.keys, keys.index_keys, chunk.of(full.sets));
        if (reuses) backend_.copy_rows(chunk.rows, hidden, chunk.rows, chunk.of(full.hidden));
        attended.push_back(finish(chunk, in, full));
      }
      if (reuses) attended.push_back(finish(chunk, in, shared));
    }
    for (const Tensor& hidden : attended) decoder_.feed_forward(weights, chunk.rows, hidden);
  }
  for (Stream* branch : {&full, &shared}) {
    if (branch->patterns.empty()) continue;
    next.push_back(std::move(*branch));
    visit_done();
  }
}

}  // namespace indexcache
