// SPDX-License-Identifier: Apache-2.0
// Whatever is different in DeepSeek-V4 shows in its goldens, of which each mistake that programs
// have made changes something.
#include "search/family_parts.h"
#include "support/catch.h"
#include "support/plain_entries.h"
#include "support/plain_streams.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A processor that makes one mistake.
class MistakenCpu : public CpuBackend {
 public:
  std::int64_t entry_shift = 0;     // positions before its last one at which an entry is seen
  std::int64_t entry_rotation = 0;  // added to the position by which entry e rotates
  std::int64_t entry_step = 0;      // from one entry's rotation to the next, if it is not 0
  bool rotates_back = true;         // the result of attention
  bool norms_heads = true;
  bool transposes_mixing = false;
  StreamMistakes stream_mistakes = {};
  bool roots_scores = true;  // of the router
  bool biases_weights = false;
  bool rectifies = true;  // products of the indexer

  void window_attention(const RowLayout& rows, const Heads& queries, const WindowKeys& keys,
                        float scale, const Heads& out, const Tensor& sinks) override {
    if (entry_shift == 0) {
      return CpuBackend::window_attention(rows, queries, keys, scale, out, sinks);
    }
    window_attention_plainly(rows, queries, keys, scale, out, sinks, entry_shift);
  }

  void rope(const RowLayout& rows, const Heads& x, const Tensor& cosines, const Tensor& sines,
            RopeLayout layout, const Heads& out) override {
    const bool back = sines.rows() > 1 && row_at(sines, 1)[0] < 0;
    if (back && !rotates_back) return;
    RowLayout at = rows;
    for (Segment& segment : at.segments) {
      if (segment.positions_per_key == 1) continue;
      segment.first_position += entry_rotation;
      if (entry_step != 0) segment.step = entry_step;
    }
    CpuBackend::rope(at, x, cosines, sines, layout, out);
  }

  void rms_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                const Tensor& out) override {
    const float* w = weight.data<float>();
    const bool of_heads = std::all_of(w, w + weight.cols(), [](float v) { return v == 1; });
    if (!of_heads || norms_heads) CpuBackend::rms_norm(rows, x, weight, eps, out);
  }

  void read_streams(const RowLayout& rows, const Tensor& of, const StreamWeights& weights,
                    const StreamRule& rule, const Tensor& out, const Tensor& factors) override {
    CpuBackend::read_streams(rows, of, weights, rule, out, factors);
    if (!stream_mistakes.rows_first && !stream_mistakes.norm_of_each) return;
    const PlainStreamWeights plain{download(weights.mixer), download(weights.base),
                                   download(weights.scale)};
    for (std::int64_t row = 0; row < rows.total; ++row) {
      const StreamReading reading = read_plainly(
          row_at(of, row), static_cast<std::size_t>(out.cols()), plain, rule, stream_mistakes);
      const auto store = [&](const std::vector<double>& values, const Tensor& to) {
        std::ranges::copy(values, to.data<float>() + row * to.stride());
      };
      store(reading.mixture, out);
      if (!factors.empty()) store(reading.coefficients, factors);
    }
  }

  void write_streams(const RowLayout& rows, const Tensor& x, const Tensor& factors,
                     const Tensor& of) override {
    const std::int64_t n = of.cols() / x.cols();
    Tensor written = factors;
    if (transposes_mixing) {
      auto values = download(factors);
      for (std::size_t row = 0; row < static_cast<std::size_t>(rows.total); ++row) {
        float* matrix = values.data() + row * static_cast<std::size_t>(n + n * n) + n;
        for (std::int64_t j = 0; j < n; ++j) {
          for (std::int64_t k = 0; k < j; ++k) std::swap(matrix[j * n + k], matrix[k * n + j]);
        }
      }
      written = upload(values, factors.rows(), factors.cols());
    }
    CpuBackend::write_streams(rows, x, written, of);
  }

  Routing route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                const RouterRule& rule) override {
    const Routing chosen = CpuBackend::route(rows, mistaken(logits, {}), bias, rule);
    if (!biases_weights) return chosen;
    return CpuBackend::weigh_experts(rows, mistaken(logits, download(bias)), chosen.experts, rule);
  }
  Routing weigh_experts(const RowLayout& rows, const Tensor& logits, const Tensor& experts,
                        const RouterRule& rule) override {
    return CpuBackend::weigh_experts(rows, mistaken(logits, {}), experts, rule);
  }

  // Products without ReLU are the difference of those of the queries and of their opposites.
  void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                  const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) override {
    if (rectifies) {
      return CpuBackend::index_topk(rows, queries, head_weights, key_rows, keys, sets);
    }
    const auto doubled = [&](const Tensor& x) {
      const auto values = download(x);
      std::vector<float> both;
      for (std::int64_t row = 0; row < x.rows(); ++row) {
        const auto begin = values.begin() + row * x.cols();
        both.insert(both.end(), begin, begin + x.cols());
        std::transform(begin, begin + x.cols(), std::back_inserter(both), std::negate<>());
      }
      return upload(both, x.rows(), 2 * x.cols());
    };
    CpuBackend::index_topk(rows, doubled(queries), doubled(head_weights), key_rows, keys, sets);
  }

 private:
  // Logits whose scores are those of a mistake: softplus itself, or with a bias.
  Tensor mistaken(const Tensor& logits, const std::vector<float>& bias) {
    if (roots_scores && bias.empty()) return logits;
    auto values = download(logits);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double plain = std::log1p(std::exp(double{values[i]}));
      const double score = bias.empty() ? plain : std::sqrt(plain) + bias[i % bias.size()];
      values[i] = static_cast<float>(std::log(std::expm1(std::max(score * score, 1e-6))));
    }
    return upload(values, logits.rows(), logits.cols());
  }
};

using V4Part = Part<MistakenCpu>;

// A copy with other numbers: change(row, column, value).
Tensor changed(const Tensor& from,
               const std::function<float(std::int64_t, std::int64_t, float)>& change) {
  CpuBackend b;
  auto values = b.download(from);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    values[i] = change(at / from.cols(), at % from.cols(), values[i]);
  }
  return b.upload(values, from.rows(), from.cols());
}

// Calls change for what makes entries of attention and of the indexer.
void change_entries(LayerWeights& w, const std::function<void(EntryWeights&)>& change) {
  if (w.entries) change(*w.entries);
  if (w.indexer && w.indexer->entries) change(*w.indexer->entries);
}

void swap_halves(EntryWeights& w) {
  const std::int64_t n = w.bias.cols(), half = w.norm.cols();
  if (n == half) return;
  const auto projections = w.projections, bias = w.bias;
  w.projections = changed(projections, [&](std::int64_t row, std::int64_t column, float) {
    const std::int64_t first = row / n * n, inside = row % n;
    return row_at(projections, first + (inside + half) % n)[column];
  });
  w.bias = changed(bias, [&](std::int64_t row, std::int64_t column, float) {
    return row_at(bias, row)[(column + half) % n];
  });
}

// Positions before an entry's own get no weight.
void cut_overlap(EntryWeights& w) {
  const std::int64_t half = w.norm.cols();
  if (w.bias.cols() == half) return;
  w.bias = changed(w.bias, [&](std::int64_t, std::int64_t column, float value) {
    return column < half ? -1e30f : value;
  });
}

V4Part by_engine(const char* name, const std::function<void(MistakenCpu&)>& engine) {
  return {name, nullptr, nullptr, engine};
}

}  // namespace

TEST_CASE("a mistake in the attention of DeepSeek-V4 would show in its goldens") {
  check_parts<MistakenCpu>(
      "deepseek_v4_tiny",
      {{"a window that is longer", [](auto& c) { c.compressed->window += 1; }},
       by_engine("entries one query late", [](auto& b) { b.entry_shift = -1; }),
       by_engine("entries from their first position on", [](auto& b) { b.entry_shift = 3; }),
       {"halves of the projections swapped", nullptr,
        [](auto& w) { change_entries(w, swap_halves); }},
       {"no overlap", nullptr, [](auto& w) { change_entries(w, cut_overlap); }},
       {"no bias of positions", nullptr,
        [](auto& w) {
          change_entries(w, [](EntryWeights& e) {
            e.bias = changed(e.bias, [](auto, auto, float) { return 0.0f; });
          });
        }},
       by_engine("a result that is not rotated back", [](auto& b) { b.rotates_back = false; }),
       by_engine("entries rotated by their last position", [](auto& b) { b.entry_rotation = 3; }),
       by_engine("entries rotated by their number", [](auto& b) { b.entry_step = 1; }),
       {"window layers with the other table",
        [](auto& c) {
          c.rope_theta = c.compressed->rope_theta;
          c.yarn = c.compressed->yarn;
        }},
       {"layers with entries with the table of the others",
        [](auto& c) {
          c.compressed->rope_theta = c.rope_theta;
          c.compressed->yarn.reset();
        }},
       {"no YaRN", [](auto& c) { c.compressed->yarn.reset(); }},
       {"the attention factor of other models",
        [](auto& c) { c.compressed->yarn->attention_factor = 1.277; }},
       {"half-split rotation", [](auto& c) { c.mla_rope = c.index_rope = RopeLayout::half_split; }},
       {"rotation of the indexer's first components", [](auto& c) { c.index_rope_last = false; }},
       {"no sinks", nullptr, [](auto& w) { w.sinks = {}; }},
       {"sinks that are scaled", nullptr,
        [](auto& w) {
          w.sinks = changed(w.sinks, [](auto, auto, float v) { return v / std::sqrt(32.0f); });
        }},
       by_engine("no norm of heads", [](auto& b) { b.norms_heads = false; }),
       by_engine("an indexer without ReLU", [](auto& b) { b.rectifies = false; })});
}

TEST_CASE("a mistake in the streams or experts of DeepSeek-V4 would show in its goldens") {
  check_parts<MistakenCpu>(
      "deepseek_v4_tiny",
      {by_engine("a transposed mixing matrix", [](auto& b) { b.transposes_mixing = true; }),
       {"three Sinkhorn rounds", [](auto& c) { c.streams->mixing_rounds = 3; }},
       {"nineteen Sinkhorn rounds", [](auto& c) { c.streams->mixing_rounds = 19; }},
       by_engine("rows first", [](auto& b) { b.stream_mistakes.rows_first = true; }),
       {"factors without their scale", [](auto& c) { c.streams->factor_scale = 1; }},
       by_engine("a norm of each stream", [](auto& b) { b.stream_mistakes.norm_of_each = true; }),
       by_engine("softplus without its root", [](auto& b) { b.roots_scores = false; }),
       {"sigmoid scores", [](auto& c) { c.router.score = RouterScore::sigmoid; }},
       by_engine("weights with the bias", [](auto& b) { b.biases_weights = true; }),
       {"scores instead of the table", nullptr,
        [](auto& w) {
          if (w.moe->hash_table.empty()) return;
          w.moe->hash_table = {};
          w.moe->correction_bias = CpuBackend().upload(std::vector<float>(8), 1, 8);
        }},
       {"no clamp", [](auto& c) { c.expert_limit = c.shared_limit = kNoLimit; }},
       {"no clamp of the shared expert", [](auto& c) { c.shared_limit = kNoLimit; }},
       {"another epsilon",
        [](auto& c) { c.rms_norm_eps = c.mla_norm_eps = c.streams->norm_eps = 1e-5f; }}});
}
