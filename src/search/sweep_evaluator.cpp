// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_evaluator.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "search/overlap.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {
namespace {

// Whether keys have a place for those of the indexer.
bool has_index(const LayerWeights& weights, const KeyRows& keys) {
  return weights.entries ? keys.projected.cols() > weights.entries->projections.rows()
                         : !keys.index_keys.empty();
}

}  // namespace

// Some sequences of the token set. Each is cut at the first position that selects: `prefix` rows
// before it, `tail` rows from there on, `keys` all of them, in the order of positions. `both` are
// the prefix rows of all sequences and then the tail rows, with a segment for each.
struct SweepEvaluator::Wave {
  std::size_t sequences;  // how many
  RowLayout prefix, tail, keys, both;
  Tensor tokens, tail_tokens;           // i32 [rows, 1] of `both`, and the last of them
  Tensor prefix_targets, tail_targets;  // i32 [rows, 1], -1 after the last token
  std::vector<RowChunk> prefix_chunks, tail_chunks, chunks;
};

// The common state of patterns that agree so far.
struct SweepEvaluator::Stream {
  std::vector<std::size_t> patterns;
  Tensor hidden;  // [tail rows, residual_width()]
  Tensor sets;    // i32 [tail rows, K] of the latest F layer
};

// What has passed through all layers.
struct SweepEvaluator::Passed {
  Tensor prefix_hidden;  // [prefix rows, residual_width()]
  std::vector<Stream> streams;
};

// Prefix rows of one layer: what the tail rows of every stream need of them.
struct SweepEvaluator::PrefixRows {
  Tensor both;    // [rows of Wave::both, residual_width()]: `hidden`, then tail rows of one stream
  Tensor hidden;  // [prefix rows, residual_width()]
  KeyRows keys;

  bool precede(const Tensor& tail) const {
    return both.row_range(hidden.rows(), tail.rows()).data<void>() == tail.data<void>();
  }
};

SweepEvaluator::SweepEvaluator(const ModelConfig& config, WeightSource& weights, Backend& backend,
                               const TokenSet& tokens, SweepMemory memory, SweepGoal goal)
    : Evaluator(averaged_tokens(tokens, goal.objective, config.first_selecting_position())),
      config_(config),
      weights_(weights),
      backend_(backend),
      tokens_(tokens),
      planner_(config, backend, tokens, memory, goal.reference, goal.indexers),
      decoder_(config, backend, tokens.longest()),
      goal_(std::move(goal)) {}

SweepEvaluator::Wave SweepEvaluator::make_wave(std::span<const std::size_t> sequences,
                                               std::int64_t chunk_rows) const {
  Wave wave{};
  wave.sequences = sequences.size();
  const std::int64_t cut = config_.first_selecting_position();
  std::vector<std::int32_t> ids[2], targets[2];
  for (const std::size_t s : sequences) {
    const auto& sequence = tokens_.sequences[s];
    const auto length = static_cast<std::int64_t>(sequence.size());
    wave.prefix.append(std::min(cut, length), 0);
    wave.tail.append(std::max<std::int64_t>(length - cut, 0), cut);
    wave.keys.append(length, 0);
    for (std::int64_t t = 0; t < length; ++t) {
      const auto next = static_cast<std::size_t>(t) + 1;
      const int part = t < cut ? 0 : 1;
      ids[part].push_back(sequence[static_cast<std::size_t>(t)]);
      targets[part].push_back(next < sequence.size() ? sequence[next] : -1);
    }
  }
  for (const RowLayout* part : {&wave.prefix, &wave.tail}) {
    for (const Segment& segment : part->segments) {
      wave.both.append(segment.rows, segment.first_position);
    }
  }
  ids[0].insert(ids[0].end(), ids[1].begin(), ids[1].end());
  const auto column = [&](const std::vector<std::int32_t>& values) {
    return backend_.upload(values, static_cast<std::int64_t>(values.size()), 1);
  };
  wave.tokens = column(ids[0]);
  wave.tail_tokens = wave.tokens.row_range(wave.prefix.total, wave.tail.total);
  wave.prefix_targets = column(targets[0]);
  wave.tail_targets = column(targets[1]);
  wave.prefix_chunks = row_chunks(wave.prefix, chunk_rows);
  wave.tail_chunks = row_chunks(wave.tail, chunk_rows);
  wave.chunks = row_chunks(wave.both, chunk_rows);
  return wave;
}

std::vector<SequenceLosses> SweepEvaluator::losses(const LossRequest& request) {
  return losses(request, nullptr);
}

std::vector<SequenceLosses> SweepEvaluator::losses(const LossRequest& request,
                                                   SweepObserver* observer, FidelityMeter* meter) {
  meter_ = meter;
  observer_ = observer;
  std::vector<SequenceLosses> result(request.patterns.size());
  if (request.patterns.empty() || request.sequences.empty()) return result;
  const SweepPlan cut = planner_.plan(request.patterns.size(), request.sequences,
                                      observer == nullptr ? 0 : observer->kept_row_bytes());
  planner_.require_fit(cut);
  const PatternGroups groups = planner_.groups(request.patterns, cut);
  const std::size_t references = planner_.reference() ? 1 : 0;
  start_progress(cut, groups);
  for (const SequenceRange& range : cut.waves) {
    const auto sequences = request.sequences.subspan(range.first, range.count);
    first_sequence_ = range.first;
    const Wave wave = make_wave(sequences, cut.chunk_rows);
    std::vector<SequenceLosses> sums;
    for (const auto& group : groups) {
      first_pattern_ = sums.size();
      std::vector<SequenceLosses> of_group(group.size(), SequenceLosses(range.count, 0.0));
      sweep(wave, group, of_group, observer);
      sums.insert(sums.end(), of_group.begin() + static_cast<std::ptrdiff_t>(references),
                  of_group.end());
    }
    normalize(request.patterns, sequences, sums);
    for (std::size_t p = 0; p < sums.size(); ++p) {
      result[p].insert(result[p].end(), sums[p].begin(), sums[p].end());
    }
    report_part(request, sequences, sums);
  }
  return result;
}

std::vector<std::optional<Fidelity>> SweepEvaluator::measure_fidelity(
    const LossRequest& request, std::vector<SequenceLosses>& losses) {
  FidelityMeter meter = make_meter(request);
  losses = this->losses(request, nullptr, &meter);
  return meter.results();
}

FidelityMeter SweepEvaluator::make_meter(const LossRequest& request) const {
  const std::int64_t first = config_.first_selecting_position();
  return {request.patterns.size(), request.sequences.size(), first,
          position_buckets(first, tokens_.longest())};
}

// Sums of losses to means per token; refuses those that are not finite.
void SweepEvaluator::normalize(std::span<const Pattern> patterns,
                               std::span<const std::size_t> sequences,
                               std::vector<SequenceLosses>& sums) const {
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      // A sequence without tokens that count has a value of 0 and no weight.
      if (weights()[sequences[i]] > 0) sums[p][i] /= weights()[sequences[i]];
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
    const auto stream_layers = count_visits(group, config_, goal_.indexers).stream_layers();
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

void SweepEvaluator::load_weights(const std::function<bool()>& stopped) {
  if (!weights_.is_stable()) return;
  for (std::int64_t layer = 0; layer < config_.layers && !stopped(); ++layer) weights_.layer(layer);
}

void SweepEvaluator::prefill(const Pattern& pattern) {
  meter_ = nullptr;
  observer_ = nullptr;
  visits_total_ = 0;
  const SweepPlan cut = planner_.plan(1);
  planner_.require_fit(cut);
  for (const SequenceRange& range : cut.waves) {
    const Wave wave =
        make_wave(std::span(all_sequences()).subspan(range.first, range.count), cut.chunk_rows);
    pass(wave, std::span(&pattern, 1), nullptr);
  }
}

void SweepEvaluator::sweep(const Wave& wave, std::span<const Pattern> patterns,
                           std::span<SequenceLosses> sums, SweepObserver* observer) {
  const Passed passed = pass(wave, patterns, observer);
  if (goal_.objective != Objective::kl)
    sum_losses(wave, passed.prefix_hidden, passed.streams, sums);
  if (goal_.objective == Objective::kl || meter_ != nullptr) compare(wave, passed.streams, sums);
}

SweepEvaluator::Passed SweepEvaluator::pass(const Wave& wave, std::span<const Pattern> patterns,
                                            SweepObserver* observer) {
  const Tensor both = decoder_.embed(weights_.embedding(), wave.tokens, Memory::state);
  PrefixRows prefix{both, both.row_range(0, wave.prefix.total), {}};
  Stream root{{}, both.row_range(wave.prefix.total, wave.tail.total), {}};
  for (std::size_t p = 0; p < patterns.size(); ++p) root.patterns.push_back(p);

  std::vector<Stream> streams;
  streams.push_back(std::move(root));
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config_.layers); ++layer) {
    const LayerWeights& weights = weights_.layer(static_cast<std::int64_t>(layer));
    const bool indexed =
        wave.tail.total > 0 && std::ranges::any_of(patterns, [&](const Pattern& pattern) {
          return runs_indexer(pattern, layer);
        });
    prefix.keys = decoder_.allocate_keys(weights, wave.prefix.total, indexed);
    timed(Visit::prefix, layer, [&] {
      fill_keys(weights, wave.prefix_chunks, prefix.hidden, wave.prefix, prefix.keys);
      decoder_.pool_entries(weights, wave.prefix, prefix.keys);
    });
    std::vector<Stream> next;
    for (Stream& stream : streams) {
      advance(weights, wave, prefix, patterns, layer, std::exchange(stream, {}), next);
    }
    streams = std::move(next);
    timed(Visit::prefix, layer, [&] { advance_prefix(weights, wave, prefix); });
    if (observer == nullptr) continue;
    observer->prefix_rows_done(layer, wave.prefix, prefix.hidden);
    for (const Stream& stream : streams) {
      observer->layer_done(layer, stream.patterns, wave.tail, stream.sets, stream.hidden);
    }
  }
  return {std::move(prefix.hidden), std::move(streams)};
}

void SweepEvaluator::sum_losses(const Wave& wave, const Tensor& prefix_hidden,
                                const std::vector<Stream>& streams,
                                std::span<SequenceLosses> sums) {
  const auto layers = static_cast<std::size_t>(config_.layers);
  std::vector<double> prefix_sums(wave.sequences, 0.0), tail_sums;
  if (goal_.objective == Objective::loss) {
    timed(Visit::prefix_loss, layers, [&] {
      prefix_sums = decoder_.loss(weights_, wave.prefix, prefix_hidden, wave.prefix_targets);
    });
  }
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

void SweepEvaluator::compare(const Wave& wave, const std::vector<Stream>& streams,
                             std::span<SequenceLosses> kl_sums) {
  const auto holds_reference = [](const Stream& stream) {
    return std::ranges::find(stream.patterns, std::size_t{0}) != stream.patterns.end();
  };
  const Stream& reference = *std::ranges::find_if(streams, holds_reference);
  const auto layers = static_cast<std::size_t>(config_.layers);
  const auto at_once = static_cast<std::size_t>(Decoder::compared_at_once(config_, backend_));
  for (const RowChunk& chunk : wave.tail_chunks) {
    // The reference with itself first, for its losses; then as many streams at a time as a layer's
    // chunk has room for.
    const auto compared = [&](std::span<const Tensor> hidden) {
      std::vector<TokenComparison> comparisons;
      timed(Visit::loss, layers, [&] {
        comparisons = decoder_.compare(weights_, chunk.rows, chunk.of(reference.hidden), hidden,
                                       chunk.of(wave.tail_targets));
      });
      return comparisons;
    };
    const Tensor own = chunk.of(reference.hidden);
    const TokenComparison of_reference = compared(std::span(&own, 1)).front();
    for (std::size_t begin = 0; begin < streams.size(); begin += at_once) {
      const std::size_t end = std::min(streams.size(), begin + at_once);
      std::vector<Tensor> hidden;
      for (std::size_t s = begin; s < end; ++s) hidden.push_back(chunk.of(streams[s].hidden));
      const std::vector<TokenComparison> comparisons = compared(hidden);
      for (std::size_t s = begin; s < end; ++s) {
        add_comparison(wave, chunk, streams[s], of_reference, comparisons[s - begin], kl_sums);
      }
    }
    check_interrupt();
  }
  if (goal_.objective != Objective::kl) return;
  for (std::size_t p = 0; p < kl_sums.size(); ++p) visit_done();
}

void SweepEvaluator::add_comparison(const Wave& wave, const RowChunk& chunk, const Stream& stream,
                                    const TokenComparison& reference,
                                    const TokenComparison& comparison,
                                    std::span<SequenceLosses> kl_sums) {
  const std::size_t references = planner_.reference() ? 1 : 0;
  for (std::size_t s = 0; s < wave.sequences; ++s) {
    const Segment& segment = chunk.rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t position = segment.position(i);
      if (position + 1 == wave.keys.segments[s].rows) continue;  // the last token predicts none
      const auto row = static_cast<std::size_t>(segment.first_row + i);
      for (const std::size_t p : stream.patterns) {
        if (goal_.objective == Objective::kl) kl_sums[p][s] += comparison.kl[row];
        if (meter_ == nullptr || p < references) continue;
        meter_->add(first_pattern_ + p - references, first_sequence_ + s, position,
                    {reference.loss[row], comparison.loss[row], comparison.kl[row],
                     comparison.same_top[row] != 0});
      }
    }
  }
}

bool SweepEvaluator::runs_indexer(const Pattern& pattern, std::size_t layer) const {
  const auto of_model = static_cast<std::int64_t>(layer);
  return config_.selects(of_model) && pattern.is_full(config_.letter_of(of_model));
}

Tensor SweepEvaluator::allocate_residual(const RowLayout& rows) const {
  return backend_.allocate(rows.total, config_.residual_width(), DType::f32, Memory::state);
}

// Keys of all rows of `hidden`, written to their positions in `keys`. Returns the last input.
SublayerInput SweepEvaluator::fill_keys(const LayerWeights& weights,
                                        const std::vector<RowChunk>& chunks, const Tensor& hidden,
                                        const RowLayout& key_rows, const KeyRows& keys) {
  SublayerInput in;
  for (const RowChunk& chunk : chunks) {
    const KeyRows part =
        decoder_.allocate_keys(weights, chunk.rows.total, has_index(weights, keys));
    in = {};
    in = decoder_.attention_input(weights, chunk.rows, chunk.of(hidden));
    decoder_.keys(weights, chunk.rows, in, part);
    decoder_.copy_keys(chunk.rows, part, key_rows, keys);
  }
  return in;
}

// With the tail rows whose feed-forward has waited for that of the prefix rows: a product of few
// rows for each expert takes as long as one of 128.
void SweepEvaluator::advance_prefix(const LayerWeights& weights, const Wave& wave,
                                    const PrefixRows& prefix) {
  for (const RowChunk& chunk : wave.prefix_chunks) {
    const Tensor hidden = chunk.of(prefix.hidden);
    const QueryRows in = decoder_.queries(weights, chunk.rows,
                                          decoder_.attention_input(weights, chunk.rows, hidden));
    decoder_.attend(weights, chunk.rows, in, wave.prefix, prefix.keys, Tensor(), hidden);
  }
  for (const RowChunk& chunk : feeds_together() ? wave.chunks : wave.prefix_chunks) {
    decoder_.feed_forward(weights, chunk.rows, chunk.of(wave.tokens), chunk.of(prefix.both));
  }
}

// Not if visits are timed: each of them does its own work then.
bool SweepEvaluator::feeds_together() const {
  return !clock_;
}

// Advances a stream by one layer. Its patterns part where they run different indexers.
void SweepEvaluator::advance(const LayerWeights& weights, const Wave& wave,
                             const PrefixRows& prefix, std::span<const Pattern> patterns,
                             std::size_t layer, Stream stream, std::vector<Stream>& next) {
  const auto of_model = static_cast<std::int64_t>(layer);
  const std::optional<std::size_t> letter =
      config_.selects(of_model) ? std::optional(config_.letter_of(of_model)) : std::nullopt;
  const std::vector<StreamPart> parts = parts_of(patterns, stream.patterns, letter, goal_.indexers);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Stream part{parts[i].patterns, stream.hidden, stream.sets};
    if (i + 1 < parts.size()) {
      part.hidden = allocate_residual(wave.tail);
      backend_.copy_rows(wave.tail, stream.hidden, wave.tail, part.hidden);
    } else {
      stream = {};
    }
    timed(visit_of(patterns, parts[i].patterns, letter), layer, [&] {
      if (parts[i].trained == nullptr) {
        return branch(weights, wave, prefix, patterns, layer, std::move(part), next);
      }
      LayerWeights trained = weights;
      trained.indexer = *parts[i].trained;
      const PrefixRows own{prefix.both, prefix.hidden,
                           decoder_.allocate_keys(trained, wave.prefix.total, true)};
      fill_keys(trained, wave.prefix_chunks, prefix.hidden, wave.prefix, own.keys);
      branch(trained, wave, own, patterns, layer, std::move(part), next);
    });
  }
}

void SweepEvaluator::select(const LayerWeights& weights, std::size_t layer, const RowChunk& chunk,
                            const QueryRows& in, const RowLayout& key_rows, const Tensor& keys,
                            const Tensor& sets) {
  const IndexQueries asked =
      decoder_.index_queries(*weights.indexer, chunk.rows, in.q_latent, in.input.x);
  const Tensor chosen = chunk.of(sets);
  decoder_.select(config_.indexer, chunk.rows, asked, key_rows, keys, chosen);
  if (observer_ == nullptr) return;
  observer_->selected(layer, decoder_, {chunk.rows, asked, key_rows, keys, chosen});
}

// Keys of all rows of a stream with tail rows `hidden`; `in` becomes the input of a single chunk.
KeyRows SweepEvaluator::tail_keys(const LayerWeights& weights, const Wave& wave,
                                  const PrefixRows& prefix, const Tensor& hidden, bool indexed,
                                  SublayerInput& in) {
  KeyRows keys = decoder_.allocate_keys(weights, wave.keys.total, indexed);
  decoder_.copy_keys(wave.prefix, prefix.keys, wave.keys, keys);
  in = fill_keys(weights, wave.tail_chunks, hidden, wave.keys, keys);
  if (wave.tail_chunks.size() > 1) in = {};
  decoder_.pool_entries(weights, wave.keys, keys);
  return keys;
}

// Advances patterns with the same indexer by one layer; where they differ, into two streams that
// share all that does not depend on the choice.
void SweepEvaluator::branch(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix,
                            std::span<const Pattern> patterns, std::size_t layer, Stream stream,
                            std::vector<Stream>& next) {
  Stream full, shared;
  for (std::size_t p : stream.patterns) {
    (runs_indexer(patterns[p], layer) ? full : shared).patterns.push_back(p);
  }
  const bool selects = config_.selects(static_cast<std::int64_t>(layer));
  const bool indexed = !full.patterns.empty(), reuses = !shared.patterns.empty();
  KeyRows keys;
  SublayerInput input;
  if (wave.tail.total > 0) keys = tail_keys(weights, wave, prefix, stream.hidden, indexed, input);
  if (indexed) {
    full.sets =
        backend_.allocate(wave.tail.total, config_.index_topk, DType::i32, Memory::index_sets);
    full.hidden = reuses ? allocate_residual(wave.tail) : stream.hidden;
  }
  if (reuses) {
    shared.hidden = stream.hidden;
    shared.sets = std::exchange(stream.sets, {});
  }
  stream.sets = {};

  const auto finish = [&](const RowChunk& chunk, const QueryRows& in, const Stream& branch) {
    decoder_.attend(weights, chunk.rows, in, wave.keys, keys,
                    selects ? chunk.of(branch.sets) : Tensor(), chunk.of(branch.hidden));
  };
  for (const RowChunk& chunk : wave.tail_chunks) {
    {
      const Tensor hidden = chunk.of(stream.hidden);
      // That of a single chunk is there since its keys.
      if (input.x.plain.empty()) input = decoder_.attention_input(weights, chunk.rows, hidden);
      const QueryRows in = decoder_.queries(weights, chunk.rows, std::exchange(input, {}));
      if (indexed) {
        select(weights, layer, chunk, in, keys.candidate_rows(wave.keys), keys.index_keys,
               full.sets);
        if (reuses) backend_.copy_rows(chunk.rows, hidden, chunk.rows, chunk.of(full.hidden));
        finish(chunk, in, full);
      }
      if (reuses) finish(chunk, in, shared);
    }
    for (const Tensor& hidden : {full.hidden, shared.hidden}) {
      if (hidden.empty() || (feeds_together() && prefix.precede(hidden))) continue;
      decoder_.feed_forward(weights, chunk.rows, chunk.of(wave.tail_tokens), chunk.of(hidden));
    }
  }
  for (Stream* branch : {&full, &shared}) {
    if (branch->patterns.empty()) continue;
    next.push_back(std::move(*branch));
    visit_done();
  }
}

}  // namespace indexcache
