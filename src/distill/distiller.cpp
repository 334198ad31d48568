// SPDX-License-Identifier: Apache-2.0
#include "distill/distiller.h"

#include "core/interrupt.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace indexcache {

// A student's keys for all positions of the sequences, and what is added up for them.
struct Distiller::Keys {
  Tensor projected;  // before LayerNorm
  Tensor keys;
  Tensor gradients;  // f32
};

// The queries of one range of positions.
struct Distiller::Range {
  RowLayout rows;
  std::int64_t candidates;  // columns of distributions
  bool sparse;
  std::map<std::size_t, Tensor> distributions = {};  // by layer, of those that students share
  Tensor x = {}, q_latent = {};                      // of the layer whose students are at work
};

namespace {

// [L] Layers that students of several layers learn from.
std::vector<bool> shared_layers(const std::vector<Student>& students, std::int64_t layers) {
  std::vector<bool> shared(static_cast<std::size_t>(layers), false);
  std::vector<std::size_t> first(shared.size(), shared.size());  // the first layer that learns
  for (const Student& student : students) {
    for (std::size_t layer = student.layer; layer < student.end; ++layer) {
      if (first[layer] == shared.size()) first[layer] = student.layer;
      if (first[layer] != student.layer) shared[layer] = true;
    }
  }
  return shared;
}

}  // namespace

Distiller::Distiller(const ModelConfig& config, Backend& backend, FrozenPass& pass,
                     StudentSet& students, const std::vector<Student>& all)
    : config_(config),
      backend_(backend),
      pass_(pass),
      set_(students),
      shared_(shared_layers(all, config.layers)) {}

Distiller::Keys Distiller::make_keys(std::size_t student, const Features& features) {
  const std::int64_t rows = features.rows.total, width = config_.index_head_dim;
  const auto make = [&](DType dtype) {
    return backend_.allocate(rows, width, dtype, Memory::keys);
  };
  Keys keys{make(backend_.index_activation()), make(backend_.index_activation()), make(DType::f32)};
  backend_.fill_zero(keys.gradients);
  const Tensor& x = features.layers[set_.students()[student].layer].x;
  pass_.decoder().index_keys(set_.weights(student), features.rows, x, keys.projected, keys.keys);
  return keys;
}

std::vector<double> Distiller::add_gradients(const Features& features,
                                             std::span<const PositionRange> ranges,
                                             float row_weight) {
  std::vector<std::int64_t> rows;
  for (const PositionRange& range : ranges) rows.push_back(rows_of(features.rows, range).total);
  const std::int64_t total = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  const auto students = static_cast<std::int64_t>(set_.size());
  const Tensor divergences = backend_.allocate(students * total, 1);  // range by range
  std::vector<Keys> keys;
  for (std::size_t i = 0; i < set_.size(); ++i) keys.push_back(make_keys(i, features));
  std::int64_t first = 0;
  for (std::size_t r = 0; r < ranges.size(); ++r) {
    if (rows[r] == 0) continue;
    for_each_student(
        features, ranges[r],
        [&](std::size_t i, const Range& range, const Tensor& sets, const Tensor& sums) {
          add_student(
              i, features, range, sets, sums, row_weight, keys[i],
              divergences.row_range(first + static_cast<std::int64_t>(i) * rows[r], rows[r]));
        });
    first += students * rows[r];
    check_interrupt();
  }
  for (std::size_t i = 0; i < set_.size() && row_weight != 0; ++i) {
    pass_.decoder().backward_index_keys(set_.weights(i), features.rows,
                                        features.layers[set_.students()[i].layer].x,
                                        keys[i].projected, keys[i].gradients, set_.gradients(i));
  }
  const std::vector<float> values = backend_.download(divergences);
  std::vector<double> sums(set_.size(), 0.0);
  auto next = values.begin();
  for (const std::int64_t of_range : rows) {
    for (double& sum : sums) {
      sum = std::accumulate(next, next + of_range, sum);
      next += of_range;
    }
  }
  return sums;
}

void Distiller::for_each_student(const Features& features, const PositionRange& positions,
                                 const Visit& visit) {
  const bool sparse = !features.layers[set_.students().front().layer].sets.empty() &&
                      positions.begin >= config_.first_selecting_position();
  Range range{rows_of(features.rows, positions), 0, sparse};
  for (std::size_t s = 0; s < range.rows.segments.size(); ++s) {
    const Segment& segment = range.rows.segments[s];
    if (segment.rows == 0) continue;
    range.candidates =
        std::max(range.candidates, features.rows.segments[s].candidates(segment.last_position()));
  }
  if (sparse) range.candidates = config_.index_topk;
  const auto gather = [&](const Tensor& whole) {
    Tensor part = backend_.allocate(range.rows.total, whole.cols(), whole.dtype());
    backend_.gather_rows(features.rows, whole, range.rows, part);
    return part;
  };
  const Tensor sums = backend_.allocate(range.rows.total, range.candidates);
  for (std::size_t i = 0; i < set_.size();) {
    const std::size_t layer = set_.students()[i].layer;
    const LayerFeatures& kept = features.layers[layer];
    range.x = gather(kept.x);
    range.q_latent = gather(kept.q_latent);
    const Tensor sets = sparse ? gather(kept.sets) : Tensor();
    backend_.fill_zero(sums);
    for (std::size_t taught = layer; i < set_.size() && set_.students()[i].layer == layer;
         ++taught) {
      add_teacher(features, taught, range, sets, sums);
      if (set_.students()[i].end == taught + 1) visit(i++, range, sets, sums);
    }
  }
}

Distiller::MassRecall Distiller::mass_recall(const Features& features,
                                             std::span<const PositionRange> ranges) {
  MassRecall recall{std::vector<double>(set_.size(), 0.0), 0};
  const auto k = static_cast<std::size_t>(config_.index_topk);
  std::vector<Keys> keys;
  for (std::size_t i = 0; i < set_.size(); ++i) keys.push_back(make_keys(i, features));
  for (const PositionRange& positions : ranges) {
    const std::int64_t rows = rows_of(features.rows, positions).total;
    if (positions.begin < config_.first_selecting_position() || rows == 0) continue;
    recall.queries += rows;
    for_each_student(
        features, positions,
        [&](std::size_t i, const Range& range, const Tensor&, const Tensor& sums) {
          const IndexQueries asked =
              pass_.decoder().index_queries(set_.weights(i), range.rows, range.q_latent, range.x);
          const Tensor sets = backend_.allocate(rows, config_.index_topk, DType::i32);
          backend_.index_topk(range.rows, asked.queries, asked.head_weights, features.rows,
                              keys[i].keys, sets);
          const std::vector<std::int32_t> chosen = backend_.download_indices(sets);
          const std::vector<float> mass = backend_.download(sums);
          double sum = 0;
          for (std::size_t c = 0; c < chosen.size(); ++c) {
            const std::size_t row = c / k;
            sum += static_cast<double>(mass[row * static_cast<std::size_t>(range.candidates) +
                                            static_cast<std::size_t>(chosen[c])]);
          }
          recall.sums[i] += sum / static_cast<double>(set_.students()[i].served());
        });
    check_interrupt();
  }
  return recall;
}

// sums += the attention distribution of `layer`. Distributions that students of several layers
// learn from are kept while the range is at work.
void Distiller::add_teacher(const Features& features, std::size_t layer, Range& range,
                            const Tensor& sets, const Tensor& sums) {
  if (range.sparse || !shared_[layer]) return add_attention(features, layer, range, sets, sums);
  Tensor& own = range.distributions[layer];
  if (own.empty()) {
    own = backend_.allocate(range.rows.total, range.candidates);
    backend_.fill_zero(own);
    add_attention(features, layer, range, sets, own);
  }
  backend_.add(own, sums);
}

void Distiller::add_attention(const Features& features, std::size_t layer, const Range& range,
                              const Tensor& sets, const Tensor& sums) {
  const LayerFeatures& kept = features.layers[layer];
  const Tensor q_latent =
      backend_.allocate(range.rows.total, kept.q_latent.cols(), kept.q_latent.dtype());
  backend_.gather_rows(features.rows, kept.q_latent, range.rows, q_latent);
  const QueryWeights& weights = pass_.query_weights(layer);
  const ProjectedQueries projected =
      pass_.decoder().project_queries(weights.q_b, weights.k_absorb, range.rows, q_latent);
  backend_.mean_attention(range.rows, projected.queries, features.rows, kept.latents, sets,
                          config_.softmax_scale(), 1.0f, sums);
}

void Distiller::add_student(std::size_t student, const Features& features, const Range& range,
                            const Tensor& sets, const Tensor& sums, float row_weight, Keys& keys,
                            const Tensor& divergences) {
  Decoder& decoder = pass_.decoder();
  const IndexQueries asked =
      decoder.index_queries(set_.weights(student), range.rows, range.q_latent, range.x);
  const IndexQueries gradients{backend_.allocate(range.rows.total, asked.queries.cols()),
                               backend_.allocate(range.rows.total, asked.head_weights.cols())};
  const auto numbers = static_cast<float>(config_.index_heads * config_.index_head_dim);
  const auto served = static_cast<float>(set_.students()[student].served());
  backend_.distill_indexer(
      range.rows, {asked.queries, asked.head_weights, keys.keys, 1 / std::sqrt(numbers)},
      features.rows, sets, {sums, 1 / served}, row_weight,
      {gradients.queries, gradients.head_weights, keys.gradients}, divergences);
  if (row_weight == 0) return;  // only the divergence is wanted
  decoder.backward_index_queries(range.rows, range.q_latent, range.x, gradients,
                                 set_.gradients(student));
}

std::int64_t Distiller::matrices(const ModelConfig& config, const std::vector<Student>& students) {
  return std::ranges::count(shared_layers(students, config.layers), true) + 2;
}

std::int64_t Distiller::bytes(const ModelConfig& c, const Device& backend,
                              const std::vector<Student>& students, const std::vector<Student>& all,
                              std::int64_t rows, std::int64_t range_rows, std::int64_t longest) {
  const auto count = static_cast<std::int64_t>(students.size());
  const auto index = static_cast<std::int64_t>(size_of(backend.index_activation()));
  const auto bytes = static_cast<std::int64_t>(size_of(backend.activation()));
  const std::int64_t keys = count * rows * c.index_head_dim * (2 * index + 4);
  // Those that are kept, their sum, and scores.
  const std::vector<bool> taught = taught_layers(students, c.layers),
                          shared = shared_layers(all, c.layers);
  std::int64_t matrices = 2;
  for (std::size_t layer = 0; layer < taught.size(); ++layer) {
    if (taught[layer] && shared[layer]) ++matrices;
  }
  const std::int64_t distributions = matrices * range_rows * longest * 4;
  const std::int64_t queries =
      range_rows * (bytes * (c.hidden + 2 * c.q_latent_width() +
                             c.heads * (c.q_head_rows() + c.latent_width())) +
                    c.index_heads * c.index_head_dim * (index + 4) + 8 * c.index_heads);
  return keys + distributions + queries + 4 * count * rows;
}

}  // namespace indexcache
