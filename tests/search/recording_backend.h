// SPDX-License-Identifier: Apache-2.0
// A backend that keeps what a forward pass computes on its way: inputs and outputs of sublayers,
// routings, scores of indexers.
#pragma once

#include "backend/backend.h"
#include "model/weights.h"
#include "search/index_scores.h"
#include "support/catch.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace indexcache::test {

// The sequences of a sweep, which are equally long.
struct SequenceGrid {
  std::size_t sequences = 0;
  std::int64_t positions = 0;
};

// Tensors of one row per position, put together from the parts that a sweep computes: rows t < k
// and the others, in chunks or not, or both together, with a segment for each part of a sequence.
// Every row must be computed, and only once, or at most as often as values() says.
template <typename T>
class ByPosition {
 public:
  // With Store::accumulate, adds to rows that were put before.
  void put(const RowLayout& rows, const std::vector<T>& values, SequenceGrid grid,
           Store store = Store::assign) {
    if (rows.total == 0) return;
    const std::size_t width = values.size() / static_cast<std::size_t>(rows.total);
    const std::size_t all = grid.sequences * static_cast<std::size_t>(grid.positions);
    values_.resize(all * width);
    written_.resize(all);
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& segment = rows.segments[s];
      const auto sequence = static_cast<std::int64_t>(s % grid.sequences);
      const std::int64_t to = sequence * grid.positions + segment.first_position;
      const auto from = values.begin() + segment.first_row * static_cast<std::int64_t>(width);
      const auto place = values_.begin() + to * static_cast<std::int64_t>(width);
      for (std::int64_t i = 0; i < segment.rows * static_cast<std::int64_t>(width); ++i) {
        place[i] = store == Store::assign ? from[i] : place[i] + from[i];
      }
      for (std::int64_t row = to; row < to + segment.rows && store == Store::assign; ++row) {
        ++written_[static_cast<std::size_t>(row)];
      }
    }
  }

  const std::vector<T>& values(int most = 1) const {
    CHECK(std::ranges::all_of(written_, [&](int times) { return times >= 1 && times <= most; }));
    return values_;
  }

  // What was computed last, however often.
  const std::vector<T>& latest() const { return values_; }

 private:
  std::vector<T> values_;
  std::vector<int> written_;  // how often each row was computed
};

// Backends by the type of their indexers, as golden tensors are called: "fp8".
using DeployedBackends = std::map<std::string, Backend*>;

// An operation does not know its layer, so NamingWeights says which one a sweep has come to.
template <typename Engine>
class RecordingBackend : public Engine {
 public:
  using ByLayer = std::map<std::size_t, ByPosition<float>>;

  void embed(const Tensor& tokens, const Tensor& table, const Tensor& out) override {
    Engine::embed(tokens, table, out);
    const auto ids = this->download_indices(tokens);
    const std::vector<float> rows = this->download(out);
    const auto width = static_cast<std::ptrdiff_t>(out.cols());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i) * width;
      embedded[ids[i]].assign(row, row + width);
    }
  }

  void linear(const RowLayout& rows, const LinearInput& x, const Tensor& weight, const Tensor& out,
              Store store) override {
    Engine::linear(rows, x, weight, out, store);
    if (weights == nullptr) return;
    if (same(weight, weights->q_a)) {
      sublayers["attn_in"][layer()].put(rows, this->download(x.plain), grid);
    }
    if (!same(weight, weights->o)) return;
    const Tensor result = this->allocate(out.rows(), out.cols());
    Engine::linear(rows, x, weight, result, Store::assign);
    sublayers["attn_out"][layer()].put(rows, this->download(result), grid);
  }

  void gated_mlp(const RowLayout& rows, const LinearInput& x, const Tensor& gate_up,
                 const Tensor& down, const Tensor& out, float limit) override {
    Engine::gated_mlp(rows, x, gate_up, down, out, limit);
    const bool shared = weights->moe.has_value();  // next to the experts, which came first
    if (!shared) sublayers["mlp_in"][layer()].put(rows, this->download(x.plain), grid);
    const Tensor result = zeros(out);
    Engine::gated_mlp(rows, x, gate_up, down, result, limit);
    sublayers["mlp_out"][layer()].put(rows, this->download(result), grid,
                                      shared ? Store::accumulate : Store::assign);
  }

  void experts(const RowLayout& rows, const LinearInput& x, const Routing& routing,
               const ExpertWeights& expert_weights, const Tensor& out, float limit) override {
    Engine::experts(rows, x, routing, expert_weights, out, limit);
    sublayers["mlp_in"][layer()].put(rows, this->download(x.plain), grid);
    const Tensor result = zeros(out);
    Engine::experts(rows, x, routing, expert_weights, result, limit);
    sublayers["mlp_out"][layer()].put(rows, this->download(result), grid);
  }

  Routing route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                const RouterRule& rule) override {
    Routing routing = Engine::route(rows, logits, bias, rule);
    record(rows, routing);
    return routing;
  }

  Routing weigh_experts(const RowLayout& rows, const Tensor& logits, const Tensor& experts,
                        const RouterRule& rule) override {
    Routing routing = Engine::weigh_experts(rows, logits, experts, rule);
    record(rows, routing);
    return routing;
  }

  // Those of a layer's attention, which are computed for keys and for queries.
  void read_streams(const RowLayout& rows, const Tensor& streams, const StreamWeights& of,
                    const StreamRule& rule, const Tensor& out, const Tensor& factors) override {
    Engine::read_streams(rows, streams, of, rule, out, factors);
    if (weights == nullptr || !weights->attention_input.streams) return;
    if (!same(of.mixer, weights->attention_input.streams->mixer)) return;
    coefficients[layer()].put(rows, this->download(factors), grid);
  }

  void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                  const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) override {
    Engine::index_topk(rows, queries, head_weights, key_rows, keys, sets);
    REQUIRE_FALSE(scores.contains(layer()));  // all rows at once
    const IndexOperands operands{this->download(queries), this->download(head_weights),
                                 this->download(keys), head_weights.cols(), keys.cols()};
    const std::int64_t columns = key_rows.segments.front().rows;
    scores[layer()] = index_scores(operands, rows, key_rows, columns);
    deployed_scores[layer()] = index_scores(as_deployed(operands), rows, key_rows, columns);
    for (const auto& [type, backend] : deployed) {
      deployed_sets[type][layer()] = select(*backend, operands, rows, key_rows, sets.cols());
    }
  }

  std::vector<double> next_token_loss(const RowLayout& rows, const Tensor& x, const Tensor& lm_head,
                                      const Tensor& targets) override {
    head_input.put(rows, this->download(x), grid);
    return Engine::next_token_loss(rows, x, lm_head, targets);
  }

  SequenceGrid grid;
  std::optional<std::size_t> current;  // the layer, and its weights
  const LayerWeights* weights = nullptr;
  DeployedBackends deployed;  // select from the same operands

  std::map<std::int32_t, std::vector<float>> embedded;  // by token
  std::map<std::string, ByLayer> sublayers;             // by the name of the golden tensor
  std::map<std::size_t, std::vector<float>> scores, deployed_scores;  // of the rows that select
  std::map<std::string, std::map<std::size_t, std::vector<std::int32_t>>> deployed_sets;
  std::map<std::size_t, ByPosition<std::int32_t>> chosen;  // experts
  ByLayer shares;                                          // of experts
  ByLayer coefficients;                                    // of streams
  ByPosition<float> head_input;

 private:
  // Experts in ascending order, as goldens have them.
  void record(const RowLayout& rows, const Routing& routing) {
    auto experts = this->download_indices(routing.experts);
    auto of_experts = this->download(routing.weights);
    const auto used = static_cast<std::size_t>(routing.experts.cols());
    for (std::size_t first = 0; first < experts.size(); first += used) {
      std::vector<std::pair<std::int32_t, float>> row;
      for (std::size_t p = first; p < first + used; ++p)
        row.emplace_back(experts[p], of_experts[p]);
      std::ranges::sort(row);
      for (std::size_t p = 0; p < used; ++p) {
        std::tie(experts[first + p], of_experts[first + p]) = row[p];
      }
    }
    chosen[layer()].put(rows, experts, grid);
    shares[layer()].put(rows, of_experts, grid);
  }
  std::vector<std::int32_t> select(Backend& backend, const IndexOperands& in, const RowLayout& rows,
                                   const RowLayout& key_rows, std::int64_t k) const {
    const Tensor sets = backend.allocate(rows.total, k, DType::i32);
    const Tensor queries = backend.upload(in.queries, rows.total, in.heads * in.width);
    const Tensor keys = backend.upload(in.keys, key_rows.total, in.width);
    backend.index_topk(rows, queries, backend.upload(in.head_weights, rows.total, in.heads),
                       key_rows, keys, sets);
    return backend.download_indices(sets);
  }
  std::size_t layer() const {
    REQUIRE(current.has_value());
    return *current;
  }
  static bool same(const Tensor& a, const Tensor& b) {
    return a.template data<void>() == b.template data<void>();
  }
  Tensor zeros(const Tensor& like) {
    Tensor tensor = this->allocate(like.rows(), like.cols());
    this->fill_zero(tensor);
    return tensor;
  }
};

// The weights of a sweep, which computes a layer only with that layer's weights: whatever its order
// or chunks, the layer asked for last is the one being computed.
template <typename Engine>
class NamingWeights : public WeightSource {
 public:
  NamingWeights(WeightSource& weights, RecordingBackend<Engine>& backend)
      : weights_(weights), backend_(backend) {
    outer_ = weights.outer();
  }

  const LayerWeights& layer(std::int64_t layer) override {
    backend_.current = static_cast<std::size_t>(layer);
    backend_.weights = &weights_.layer(layer);
    return *backend_.weights;
  }

 private:
  WeightSource& weights_;
  RecordingBackend<Engine>& backend_;
};

}  // namespace indexcache::test
