// SPDX-License-Identifier: Apache-2.0
#include "search/evaluator.h"

#include "core/error.h"
#include "core/interrupt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace indexcache {

// Sequences [first, first + sequences) of the token set. Each is cut at index_topk: `dense` rows
// before it, `tail` rows from there on, `keys` all of them.
struct Evaluator::Wave {
  std::size_t first;
  std::size_t sequences;
  RowLayout dense, tail, keys;
  Tensor dense_tokens, tail_tokens;    // i32 [rows, 1]
  Tensor dense_targets, tail_targets;  // i32 [rows, 1], -1 after the last token
};

// The common state of patterns that agree so far.
struct Evaluator::Stream {
  std::vector<std::size_t> patterns;
  Tensor hidden;  // [tail rows, H]
  Tensor sets;    // i32 [tail rows, K] of the latest F layer
};

// Dense rows of one layer: what the tail rows of every stream need of them.
struct Evaluator::DenseRows {
  Tensor hidden;
  Projections projections;
  Tensor index_keys;  // empty when no stream runs its indexer here
};

namespace {

// Distinct prefixes of each length: the streams that leave each layer.
std::size_t tree_nodes(std::span<const Pattern> patterns) {
  std::set<std::string> prefixes;
  for (const Pattern& pattern : patterns) {
    for (std::size_t n = 1; n <= pattern.layers(); ++n)
      prefixes.insert(pattern.text().substr(0, n));
  }
  return prefixes.size();
}

}  // namespace

Evaluator::Evaluator(const Model& model, ModelWeights& weights, Backend& backend,
                     const TokenSet& tokens, EvaluatorOptions options)
    : model_(model),
      model_weights_(weights),
      backend_(backend),
      tokens_(tokens),
      options_(options),
      decoder_(model.config, backend, tokens.longest()) {
  for (const auto& sequence : tokens.sequences) {
    token_counts_.push_back(static_cast<double>(sequence.size() - 1));
  }
}

double Evaluator::mean(const SequenceLosses& losses) const {
  double sum = 0;
  double count = 0;
  for (std::size_t s = 0; s < losses.size(); ++s) {
    sum += losses[s] * token_counts_[s];
    count += token_counts_[s];
  }
  return sum / count;
}

Evaluator::Wave Evaluator::make_wave(std::size_t first, std::size_t count) const {
  Wave wave{};
  wave.first = first;
  wave.sequences = count;
  const std::int64_t k = model_.config.index_topk;
  std::vector<std::int32_t> ids[2], targets[2];
  for (std::size_t s = first; s < first + count; ++s) {
    const auto& sequence = tokens_.sequences[s];
    const auto length = static_cast<std::int64_t>(sequence.size());
    wave.dense.append(std::min(k, length), 0);
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
  wave.dense_tokens = column(ids[0]);
  wave.tail_tokens = column(ids[1]);
  wave.dense_targets = column(targets[0]);
  wave.tail_targets = column(targets[1]);
  return wave;
}

std::vector<Evaluator::Wave> Evaluator::waves(std::span<const Pattern> patterns) const {
  const std::int64_t row_bytes = 4 * (model_.config.hidden + model_.config.index_topk);
  const auto streams = static_cast<std::int64_t>(patterns.size()) + 1;  // and the one that forks
  std::vector<Wave> waves;
  std::size_t first = 0;
  std::int64_t bytes = 0;
  for (std::size_t s = 0; s < tokens_.sequences.size(); ++s) {
    const auto length = static_cast<std::int64_t>(tokens_.sequences[s].size());
    const std::int64_t needed = streams * length * row_bytes;
    if (s > first && bytes + needed > options_.state_bytes) {
      waves.push_back(make_wave(first, s - first));
      first = s;
      bytes = 0;
    }
    bytes += needed;
  }
  waves.push_back(make_wave(first, tokens_.sequences.size() - first));
  return waves;
}

std::vector<SequenceLosses> Evaluator::losses(std::span<const Pattern> patterns,
                                              SweepObserver* observer) {
  std::vector<std::vector<double>> sums(patterns.size(),
                                        std::vector<double>(tokens_.sequences.size(), 0.0));
  if (patterns.empty()) return sums;
  const std::vector<Wave> all = waves(patterns);
  steps_done_ = 0;
  steps_total_ = all.size() * (tree_nodes(patterns) + patterns.size());
  for (const Wave& wave : all) sweep(wave, patterns, observer, sums);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    for (std::size_t s = 0; s < token_counts_.size(); ++s) {
      sums[p][s] /= token_counts_[s];
      if (std::isfinite(sums[p][s])) continue;
      throw InputError({"the loss is not finite", fmt::format("{}: sequence {}", tokens_.source, s),
                        fmt::format("pattern {} gives {}", patterns[p].text(), sums[p][s]),
                        "check the checkpoint: the forward pass overflows or a weight is corrupt"});
    }
  }
  return sums;
}

void Evaluator::step_done() {
  check_interrupt();
  ++steps_done_;
  if (progress_) progress_(steps_done_, steps_total_);
}

void Evaluator::sweep(const Wave& wave, std::span<const Pattern> patterns, SweepObserver* observer,
                      std::vector<std::vector<double>>& sums) {
  const ModelConfig& config = model_.config;
  DenseRows dense;
  dense.hidden = backend_.allocate(wave.dense.total, config.hidden);
  backend_.embed(wave.dense_tokens, model_weights_.embedding(), dense.hidden);
  Stream root;
  root.hidden = backend_.allocate(wave.tail.total, config.hidden);
  backend_.embed(wave.tail_tokens, model_weights_.embedding(), root.hidden);
  for (std::size_t p = 0; p < patterns.size(); ++p) root.patterns.push_back(p);

  std::vector<Stream> streams;
  streams.push_back(std::move(root));
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(config.layers); ++layer) {
    const LayerWeights& weights = model_weights_.layer(static_cast<std::int64_t>(layer));
    dense.projections = decoder_.project(weights, wave.dense, dense.hidden);
    const bool indexed = std::ranges::any_of(
        patterns, [&](const Pattern& pattern) { return pattern.is_full(layer); });
    dense.index_keys =
        indexed ? decoder_.index_keys(weights, wave.dense, dense.projections.x) : Tensor();
    std::vector<Stream> next;
    for (const Stream& stream : streams) {
      branch(weights, wave, dense, patterns, layer, stream, next);
    }
    streams = std::move(next);
    advance_dense(weights, wave, dense);
    if (observer == nullptr) continue;
    observer->dense_rows_done(layer, wave.dense, dense.hidden);
    for (const Stream& stream : streams) {
      observer->layer_done(layer, stream.patterns, wave.tail, stream.sets, stream.hidden);
    }
  }

  const auto dense_sums =
      decoder_.loss(model_weights_, wave.dense, dense.hidden, wave.dense_targets);
  for (const Stream& stream : streams) {
    const auto tail_sums =
        decoder_.loss(model_weights_, wave.tail, stream.hidden, wave.tail_targets);
    for (std::size_t p : stream.patterns) {
      for (std::size_t s = 0; s < wave.sequences; ++s) {
        sums[p][wave.first + s] = dense_sums[s] + tail_sums[s];
      }
      step_done();
    }
  }
}

void Evaluator::advance_dense(const LayerWeights& weights, const Wave& wave,
                              const DenseRows& dense) {
  decoder_.attend(weights, wave.dense, dense.projections, wave.dense, dense.projections.latents,
                  Tensor(), dense.hidden);
  decoder_.feed_forward(weights, wave.dense, dense.hidden);
}

// Keys of all positions: those of the dense rows, then the stream's own.
Tensor Evaluator::assemble(const Wave& wave, const Tensor& dense, const Tensor& tail) {
  Tensor all = backend_.allocate(wave.keys.total, dense.cols());
  backend_.copy_rows(wave.dense, dense, wave.keys, all);
  backend_.copy_rows(wave.tail, tail, wave.keys, all);
  return all;
}

void Evaluator::branch(const LayerWeights& weights, const Wave& wave, const DenseRows& dense,
                       std::span<const Pattern> patterns, std::size_t layer, const Stream& stream,
                       std::vector<Stream>& next) {
  std::vector<std::size_t> full, shared;
  for (std::size_t p : stream.patterns) {
    (patterns[p].is_full(layer) ? full : shared).push_back(p);
  }
  const Projections in = decoder_.project(weights, wave.tail, stream.hidden);
  const Tensor latents = assemble(wave, dense.projections.latents, in.latents);
  const auto finish = [&](std::vector<std::size_t> members, const Tensor& sets,
                          const Tensor& hidden) {
    decoder_.attend(weights, wave.tail, in, wave.keys, latents, sets, hidden);
    decoder_.feed_forward(weights, wave.tail, hidden);
    next.push_back({std::move(members), hidden, sets});
    step_done();
  };
  if (!full.empty()) {
    Tensor hidden = stream.hidden;
    if (!shared.empty()) {
      hidden = backend_.allocate(wave.tail.total, hidden.cols());
      backend_.copy_rows(wave.tail, stream.hidden, wave.tail, hidden);
    }
    const Tensor keys =
        assemble(wave, dense.index_keys, decoder_.index_keys(weights, wave.tail, in.x));
    const Tensor sets = decoder_.select(weights, wave.tail, in, wave.keys, keys);
    finish(std::move(full), sets, hidden);
  }
  if (!shared.empty()) finish(std::move(shared), stream.sets, stream.hidden);
}

}  // namespace indexcache
