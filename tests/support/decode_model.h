// SPDX-License-Identifier: Apache-2.0
// A prefill of a model, layer by layer, whose last positions are decoded again from pages: what is
// selected and what attention adds must be the same.
#pragma once

#include "model/decoder.h"
#include "support/compare.h"
#include "support/paged_case.h"
#include "support/session.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>
#include <vector>

namespace indexcache::test {

// What decode is held to.
struct DecodeCheck {
  bool equal_scores;  // of prefill and decode, to the last bit; else members whose scores differ
                      // from the last one's by less than the error of float32 may change
  double tolerance;   // of the residual after attention
};

template <typename BackendType>
class DecodedModel {
 public:
  DecodedModel(Session<BackendType>& session, std::vector<std::int64_t> lengths, DecodeCheck check)
      : c_(session.model.config),
        b_(session.backend),
        weights_(session.weights),
        decoder_(c_, b_, *std::ranges::max_element(lengths)),
        sequences_(std::move(lengths), 11),
        check_(check) {
    const std::int64_t cut = c_.first_selecting_position();
    std::vector<std::int32_t> tokens;
    for (const std::int64_t length : sequences_.lengths) {
      prefix_.append(std::min(cut, length), 0);
      tail_.append(std::max<std::int64_t>(length - cut, 0), cut);
      for (std::int64_t t = 0; t < length; ++t) {
        tokens.push_back(static_cast<std::int32_t>((t * t + 31 * t + 7 * length) % c_.vocabulary));
      }
    }
    all_ = sequences_.all_rows();
    hidden_ = decoder_.embed(weights_.embedding(),
                             b_.upload(std::span<const std::int32_t>(tokens), all_.total, 1),
                             Memory::state);
    decoded_sets_.resize(kSteps);
  }

  // Layers with an indexer run it, but for every third one that can take the sets of another.
  void run(const std::vector<bool>& has_indexer) {
    for (std::int64_t layer = 0; layer < c_.layers; ++layer) {
      INFO("layer " << layer);
      const bool full =
          has_indexer[static_cast<std::size_t>(layer)] && (layer == 0 || layer % 3 != 1);
      advance(weights_.layer(layer), full);
    }
    CHECK(selections_ > 0);
  }

  std::size_t moved() const { return moved_; }

 private:
  static constexpr std::int64_t kSteps = 3;  // positions that are decoded, the last ones

  Tensor residual(const RowLayout& rows) {
    return b_.allocate(rows.total, c_.residual_width(), DType::f32, Memory::state);
  }

  QueryRows queries(const LayerWeights& weights, const RowLayout& rows, const Tensor& hidden) {
    return decoder_.queries(weights, rows, decoder_.attention_input(weights, rows, hidden));
  }

  void advance(const LayerWeights& weights, bool full) {
    const KeyRows keys = decoder_.allocate_keys(weights, all_.total, full);
    decoder_.keys(weights, all_, decoder_.attention_input(weights, all_, hidden_), keys);
    const Tensor prefix = residual(prefix_), tail = residual(tail_), attended = residual(all_);
    b_.gather_rows(all_, hidden_, prefix_, prefix);
    b_.gather_rows(all_, hidden_, tail_, tail);
    {
      const QueryRows in = queries(weights, prefix_, prefix);
      decoder_.attend(weights, prefix_, in, all_, keys, Tensor(), prefix);
    }
    const QueryRows in = queries(weights, tail_, tail);
    if (full) {
      sets_ = b_.allocate(tail_.total, c_.index_topk, DType::i32);
      decoder_.select(weights, tail_, in, all_, keys.index_keys, sets_);
      asked_ = decoder_.index_queries(*weights.indexer, tail_, in.q_latent, in.input.x);
    }
    decoder_.attend(weights, tail_, in, all_, keys, sets_, tail);
    b_.copy_rows(prefix_, prefix, all_, attended);
    b_.copy_rows(tail_, tail, all_, attended);
    decode(weights, keys, full, attended);
    decoder_.feed_forward(weights, prefix_, Tensor(), prefix);
    decoder_.feed_forward(weights, tail_, Tensor(), tail);
    b_.copy_rows(prefix_, prefix, all_, hidden_);
    b_.copy_rows(tail_, tail, all_, hidden_);
  }

  // Pages with the keys of all positions but the last kSteps.
  LayerPages pages_before(const KeyRows& keys, bool full) {
    RowLayout before;
    for (const std::int64_t length : sequences_.lengths) before.append(length - kSteps, 0);
    const auto filled = [&](const Tensor& x, const PageFormat& format) {
      const PagedCache pages = sequences_.poisoned(b_, format);
      const Tensor own = b_.allocate(before.total, x.cols(), x.dtype());
      b_.gather_rows(all_, x, before, own);
      b_.write_pages(before, own, sequences_.tables(b_), pages);
      return pages;
    };
    LayerPages pages;
    pages.latents = filled(keys.latents, {PageLayout::plain, b_.activation(), c_.latent_width()});
    if (full) pages.index_keys = filled(keys.index_keys, b_.index_page_format(c_.index_head_dim));
    return pages;
  }

  void decode(const LayerWeights& weights, const KeyRows& keys, bool full, const Tensor& attended) {
    const LayerPages pages = pages_before(keys, full);
    const Tensor tables = sequences_.tables(b_);
    for (std::int64_t step = 0; step < kSteps; ++step) {
      RowLayout rows;
      for (const std::int64_t length : sequences_.lengths) rows.append(1, length - kSteps + step);
      const Tensor hidden = residual(rows), expected = residual(rows);
      b_.gather_rows(all_, hidden_, rows, hidden);
      b_.gather_rows(all_, attended, rows, expected);
      SublayerInput input = decoder_.attention_input(weights, rows, hidden);
      decoder_.write_keys(weights, rows, input, tables, pages);
      const QueryRows in = decoder_.queries(weights, rows, std::move(input));
      Tensor& sets = decoded_sets_[static_cast<std::size_t>(step)];
      if (full) {
        sets = PagedIndexer::poisoned_sets(b_, rows.total, c_.index_topk);
        decoder_.select_paged(weights, rows, in, tables, pages.index_keys, sets);
        compare_sets(rows, b_.download_indices(sets), keys);
      }
      decoder_.attend_paged(weights, rows, in, tables, pages.latents, sets, hidden);
      CHECK_CLOSE(b_.download(hidden), b_.download(expected), check_.tolerance);
    }
  }

  void compare_sets(const RowLayout& rows, const std::vector<std::int32_t>& sets,
                    const KeyRows& keys) {
    const auto expected = b_.download_indices(sets_);
    const std::int64_t k = c_.index_topk;
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const std::int64_t position = rows.segments[s].first_position;
      const auto* set = sets.data() + static_cast<std::int64_t>(s) * k;
      if (position + 1 <= k) {
        for (std::int64_t i = 0; i < k; ++i) CHECK(set[i] == (i <= position ? i : -1));
        continue;
      }
      const Segment& of_tail = tail_.segments[s];
      const std::int64_t row = of_tail.first_row + position - of_tail.first_position;
      const auto* wanted = expected.data() + row * k;
      ++selections_;
      if (std::equal(set, set + k, wanted)) continue;
      if (check_.equal_scores) {
        CHECK(std::vector(set, set + k) == std::vector(wanted, wanted + k));
      } else {
        check_ties({set, set + k}, {wanted, wanted + k}, scores_of(row, s, position + 1, keys));
      }
    }
  }

  // In double precision, of the first `count` positions of sequence s.
  std::vector<double> scores_of(std::int64_t row, std::size_t s, std::int64_t count,
                                const KeyRows& keys) {
    const auto queries = b_.download(asked_.queries.row_range(row, 1));
    const auto weights = b_.download(asked_.head_weights.row_range(row, 1));
    const auto own = b_.download(keys.index_keys.row_range(all_.segments[s].first_row, count));
    std::vector<double> scores(static_cast<std::size_t>(count), 0.0);
    const auto width = static_cast<std::size_t>(c_.index_head_dim);
    for (std::size_t u = 0; u < scores.size(); ++u) {
      for (std::size_t h = 0; h < weights.size(); ++h) {
        const float* q = queries.data() + h * width;
        scores[u] += weights[h] *
                     std::max(std::inner_product(q, q + width, own.data() + u * width, 0.0), 0.0);
      }
    }
    return scores;
  }

  void check_ties(const std::set<std::int32_t>& a, const std::set<std::int32_t>& b,
                  const std::vector<double>& scores) {
    double largest = 0, limit = std::numeric_limits<double>::infinity();
    for (const double score : scores) largest = std::max(largest, std::abs(score));
    for (const std::int32_t u : b) limit = std::min(limit, scores[static_cast<std::size_t>(u)]);
    CHECK(a.size() == b.size());
    std::vector<std::int32_t> different;
    std::ranges::set_symmetric_difference(a, b, std::back_inserter(different));
    for (const std::int32_t u : different) {
      CHECK(std::abs(scores[static_cast<std::size_t>(u)] - limit) <= 1e-5 * largest);
      ++moved_;
    }
  }

  const ModelConfig& c_;
  BackendType& b_;
  ModelWeights& weights_;
  Decoder decoder_;
  PagedSequences sequences_;
  DecodeCheck check_;
  RowLayout all_, prefix_, tail_;
  Tensor hidden_, sets_;
  IndexQueries asked_;
  std::vector<Tensor> decoded_sets_;  // of each step, from the last layer that selected
  std::size_t selections_ = 0, moved_ = 0;
};

}  // namespace indexcache::test
