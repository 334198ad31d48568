// SPDX-License-Identifier: Apache-2.0
// bench ops: each operation at the model's shapes, against what this device is measured to reach.
#include "bench.h"
#include "bench_entries.h"
#include "core/console.h"
#include "model/decoder.h"
#include "model/sizes.h"
#include "ops_timer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

namespace indexcache {
namespace {

// The indexer's and the attention's rows: the last `rows` positions of one sequence, and the keys
// that the indexer chooses among.
struct Place {
  RowLayout rows, keys;
  double pairs = 0;  // of queries and candidates
};

Place place_of(const ModelConfig& config, std::int64_t context, std::int64_t rows) {
  Place place;
  const std::int64_t selecting =
      config.dense ? context : context - config.first_selecting_position();
  const std::int64_t count = rows == 0 ? selecting : std::min(rows, selecting);
  place.rows.append(count, context - count);
  const std::int64_t per_key = config.positions_per_candidate();
  place.keys.append(context / per_key, 0, per_key);
  const Segment &rows_of = place.rows.segments.front(), &keys_of = place.keys.segments.front();
  for (std::int64_t i = 0; i < count; ++i) {
    place.pairs += static_cast<double>(keys_of.candidates(rows_of.position(i)));
  }
  return place;
}

class OpsBench {
 public:
  OpsBench(BenchModel& model, const BenchOptions& options, bool json)
      : c_(model.config()),
        b_(model.backend()),
        w_(model.weights().layer(
            static_cast<std::int64_t>(model.config().selecting_layers().back()))),
        embedding_(model.weights().embedding()),
        lm_head_(model.weights().lm_head()),
        only_(options.only),
        shared_(options.shared),
        timer_(model.backend(), options.repeat, json) {}

  void run(std::int64_t context, std::int64_t rows) {
    check_context(c_, context);
    context_ = context;
    place_ = place_of(c_, context, rows);
    if (wanted("ceilings")) ceilings();
    if (wanted("products")) products();
    if (!c_.dense) selection();
    if (wanted("dense") && !c_.compressed) attend_densely();
    if (wanted("rows")) row_operations();
    if (wanted("experts")) feed_forward();
    if (wanted("loss")) loss();
    if (wanted("overlap") && !c_.dense) overlap();
  }

  Json take() { return timer_.take(); }

 private:
  // What selects, and attends to what was selected.
  void selection() {
    if (wanted("selection") || wanted("overlap") || (wanted("attention") && shared_ == 0)) {
      select(wanted("selection"));
    }
    if (wanted("attention")) attend();
  }

  bool wanted(const std::string& group) const {
    return only_.empty() || std::ranges::find(only_, group) != only_.end();
  }

  // A large copy, counting bytes read and written; a large product in the engine's type.
  void ceilings() {
    RowLayout rows;
    rows.append(b_.is_gpu() ? 1 << 18 : 1 << 14, 0);
    const Tensor x = timer_.random(rows.total, 1024, DType::f32),
                 y = timer_.random(rows.total, 1024, DType::f32);
    const double copied = 2.0 * 4.0 * static_cast<double>(rows.total) * 1024;
    const double copy = timer_.time([&] { b_.copy_rows(rows, x, rows, y); });
    timer_.report("copy", fmt::format("{:.0f} MiB", copied / 2 / 0x1p20), copy, 0, copied);
    const std::int64_t size = b_.is_gpu() ? 8192 : 1024;
    const double tflops = timer_.product("product", size, timer_.projection(size, size));
    timer_.set_ceilings(tflops, copied / copy * 1e-12);
  }

  void products() {
    const std::int64_t rows = std::min<std::int64_t>(context_, 16384);
    const auto project = [&](const char* name, std::int64_t out, std::int64_t in) {
      timer_.product(name, rows, timer_.projection(out, in));
    };
    project("q_b", c_.heads * c_.q_head_rows(), c_.q_latent_width());
    project("o", c_.hidden, w_.o.cols());
    project("gate_up", 2 * c_.intermediate, c_.hidden);
    timer_.product("lm_head", std::min<std::int64_t>(rows, 4096), lm_head_);
    if (c_.compressed) return time_entry_products(c_, w_, rows, timer_);
    timer_.head_product("k_absorb", rows, c_.heads, w_.k_absorb);  // of the absorbed query
  }

  // Selects with random queries and keys; attention and overlap need the sets.
  void select(bool timed) {
    const std::int64_t rows = place_.rows.total;
    const Tensor q = timer_.random(rows, c_.index_heads * c_.index_head_dim, b_.index_activation());
    const Tensor k = timer_.random(place_.keys.total, c_.index_head_dim, b_.index_activation());
    const Tensor weights = timer_.random(rows, c_.index_heads, DType::f32);
    sets_ = b_.allocate(rows, c_.index_topk, DType::i32);
    const auto exact = [&] { b_.index_topk(place_.rows, q, weights, place_.keys, k, sets_); };
    if (!timed) return exact();
    const double seconds = time_selection(exact);
    if (c_.compressed) return;  // HISA chooses blocks of positions
    const Hisa hisa = c_.indexer.value_or(Hisa{});
    if (hisa.takes_all(context_) || (hisa.blocks - 1) * hisa.block < c_.index_topk) return;
    const Tensor sets = b_.allocate(rows, c_.index_topk, DType::i32);
    time_hisa(hisa, seconds,
              [&] { b_.hisa_topk(place_.rows, q, weights, place_.keys, k, hisa, sets); });
  }

  // Logits and top-k of the rows, timed apart and together. Returns the seconds of both.
  double time_selection(const std::function<void()>& body) {
    const std::int64_t rows = place_.rows.total;
    const auto [logits, top_k] = selection_components(body);
    const double flop = place_.pairs * indexer_pair_operations(c_);
    const std::string shape = fmt::format("{} of {}, {} heads", rows, context_, c_.index_heads);
    const auto per_pair = [&](double seconds) { return seconds / place_.pairs * 1e12; };
    if (logits > 0) {
      timer_.report("indexer logits", shape, logits, flop, 0, "ps/pair", per_pair(logits));
      timer_.report("top-k", fmt::format("{} rows, k {}", rows, c_.index_topk), top_k, 0,
                    4 * place_.pairs, "ps/pair", per_pair(top_k));
    }
    const double both = timer_.time(body);
    timer_.report("logits + top-k", shape, both, flop, 0, "ps/pair", per_pair(both));
    return both;
  }

  // The same by HISA, next to the seconds of the exact indexer.
  void time_hisa(const Hisa& hisa, double exact, const std::function<void()>& body) {
    const std::int64_t rows = place_.rows.total;
    const auto first = static_cast<double>(context_ - rows);
    const double pairs = scored_pairs(hisa, first, static_cast<double>(context_));
    const double flop = pairs * indexer_pair_operations(c_);
    const std::string shape = fmt::format("{} blocks of {} keys", hisa.blocks, hisa.block);
    const auto [logits, top_k] = selection_components(body);
    if (logits > 0) {
      timer_.report("HISA logits", shape, logits, flop, 0, "ps/pair", logits / pairs * 1e12);
      timer_.report("HISA top-k", fmt::format("{} rows, k {}", rows, c_.index_topk), top_k, 0,
                    4 * static_cast<double>(rows * std::min(hisa.blocks * hisa.block, context_)));
    }
    const double both = timer_.time(body);
    timer_.report("HISA", shape, both, flop, 0, "times exact", exact / both);
  }

  // Seconds of logits and of top-k; zeros without a clock of components.
  std::pair<double, double> selection_components(const std::function<void()>& body) {
    const ComponentSeconds components = median_components(b_, timer_.repeat(), body);
    return {components[static_cast<std::size_t>(Component::indexer_logits)],
            components[static_cast<std::size_t>(Component::top_k)]};
  }

  // Sets of the last `rows` queries, each of which shares shared_ percent with the one before, as
  // those of text do; sets of random scores share only what chance gives.
  Tensor shared_sets(std::int64_t rows) {
    std::mt19937_64 engine(7);
    const auto random_below = [&](std::size_t end) { return engine() % end; };
    const auto k = static_cast<std::size_t>(c_.index_topk);
    const std::size_t kept = k * static_cast<std::size_t>(shared_) / 100;
    std::vector<char> chosen(static_cast<std::size_t>(context_), 0);
    std::vector<std::int32_t> members, sets;
    for (std::int64_t position = context_ - rows; position < context_; ++position) {
      while (members.size() > kept) {
        std::swap(members[random_below(members.size())], members.back());
        chosen[static_cast<std::size_t>(members.back())] = 0;
        members.pop_back();
      }
      const auto candidates =
          static_cast<std::size_t>(place_.keys.segments.front().candidates(position));
      while (members.size() < k) {
        const std::size_t candidate = random_below(candidates);
        if (std::exchange(chosen[candidate], 1) == 0) {
          members.push_back(static_cast<std::int32_t>(candidate));
        }
      }
      const auto row = sets.insert(sets.end(), members.begin(), members.end());
      std::sort(row, sets.end());
    }
    return b_.upload(std::span<const std::int32_t>(sets), rows, c_.index_topk);
  }

  void attend() {
    const std::int64_t rows = std::min<std::int64_t>(place_.rows.total, 8192);
    const std::int64_t width = c_.latent_width();
    const Tensor sets =
        shared_ > 0 ? shared_sets(rows) : sets_.row_range(place_.rows.total - rows, rows);
    if (c_.compressed) return time_window_attention(c_, w_, context_, sets, timer_);
    RowLayout last;
    last.append(rows, context_ - rows);
    const Tensor q = timer_.activations(rows, c_.heads * width),
                 keys = timer_.activations(context_, width);
    const Tensor out = timer_.activations(rows, c_.heads * c_.kv_lora_rank);
    const double seconds = timer_.time([&] {
      b_.sparse_attention(last, {q, c_.heads, width, width}, place_.keys, keys,
                          keys.columns(0, c_.kv_lora_rank), sets, c_.softmax_scale(),
                          {out, c_.heads, c_.kv_lora_rank, c_.kv_lora_rank}, w_.sinks);
    });
    const double flop = static_cast<double>(rows * c_.index_topk) * attention_pair_operations(c_);
    timer_.report("sparse attention",
                  fmt::format("{} rows, {} heads, k {}", rows, c_.heads, c_.index_topk), seconds,
                  flop, 0);
  }

  // Attention of all heads to all earlier tokens, and before it the products that expand keys and
  // values, for as many heads at a time as the decoder takes. All groups of heads share buffers.
  void attend_densely() {
    // As many rows as sparse attention is timed for, if it is.
    const std::int64_t rows =
        c_.dense ? place_.rows.total : std::min<std::int64_t>(place_.rows.total, 8192);
    RowLayout last;
    last.append(rows, context_ - rows);
    const std::int64_t most = Decoder::heads_expanded_at_once(c_);
    const Tensor latents = timer_.activations(context_, c_.latent_width());
    const Heads q = timer_.heads(rows, most, c_.qk_head_dim()),
                out = timer_.heads(rows, most, c_.v_head_dim);
    const Heads nope = timer_.heads(context_, most, c_.qk_nope_head_dim);
    const Heads values = timer_.heads(context_, most, c_.v_head_dim);
    const auto for_groups = [&](const auto& body) {
      for (std::int64_t head = 0; head < c_.heads; head += most) {
        body(std::min(most, c_.heads - head));
      }
    };
    const double expanding = timer_.time([&] {
      for_groups([&](std::int64_t count) {
        const Tensor latent = latents.columns(0, c_.kv_lora_rank);
        b_.expand_heads(place_.keys, latent, w_.k_absorb.row_range(0, count * c_.kv_lora_rank),
                        first_heads(nope, count));
        b_.linear(place_.keys, latent, w_.v_absorb.row_range(0, count * c_.v_head_dim),
                  values.tensor.columns(0, count * c_.v_head_dim));
      });
    });
    const auto widths = static_cast<double>(c_.heads * (c_.qk_nope_head_dim + c_.v_head_dim));
    timer_.report("expand keys", fmt::format("{} x {} heads", context_, c_.heads), expanding,
                  2.0 * static_cast<double>(context_ * c_.kv_lora_rank) * widths, 0);
    const double seconds = timer_.time([&] {
      for_groups([&](std::int64_t count) {
        b_.causal_attention(
            last, first_heads(q, count), place_.keys,
            {first_heads(nope, count), latents.columns(c_.kv_lora_rank, c_.qk_rope_head_dim),
             first_heads(values, count)},
            c_.softmax_scale(), first_heads(out, count),
            w_.sinks.empty() ? Tensor() : w_.sinks.columns(0, count));
      });
    });
    const double pairs = causal_pairs(context_) - causal_pairs(context_ - rows);
    timer_.report("dense attention", fmt::format("{} of {}, {} heads", rows, context_, c_.heads),
                  seconds, pairs * expanded_pair_operations(c_), 0);
  }

  // The first of them.
  static Heads first_heads(Heads heads, std::int64_t count) {
    heads.count = count;
    return heads;
  }

  // Of the first `count` queries of a sequence.
  static double causal_pairs(std::int64_t count) {
    return static_cast<double>(count) * static_cast<double>(count + 1) / 2;
  }

  // What moves bytes and hardly computes.
  void row_operations() {
    const std::int64_t rows = std::min<std::int64_t>(context_, 16384);
    RowLayout layout;
    layout.append(rows, 0);
    const auto element = static_cast<double>(size_of(b_.activation()));
    const Tensor x = timer_.activations(rows, c_.hidden);
    const Tensor residual = timer_.random(rows, c_.hidden, DType::f32);
    const std::string shape = fmt::format("{} x {}", rows, c_.hidden);
    const auto elements = static_cast<double>(rows * c_.hidden);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(rows), 1);
    const Tensor tokens = b_.upload(std::span<const std::int32_t>(ids), rows, 1);
    const double embed = timer_.time([&] { b_.embed(tokens, embedding_, residual); });
    timer_.report("embed", shape, embed, 0, elements * 4);
    const double norm =
        timer_.time([&] { b_.rms_norm(layout, residual, w_.attention_input.norm, 1e-6f, x); });
    timer_.report("rms_norm", shape, norm, 0, elements * (4 + element));
    if (!c_.compressed) index_norm(layout);
    const std::int64_t pairs = c_.qk_rope_head_dim / 2;
    const Tensor cosines = timer_.random(rows, pairs, DType::f32),
                 sines = timer_.random(rows, pairs, DType::f32);
    const Tensor q = timer_.activations(rows, c_.heads * c_.qk_rope_head_dim);
    const Heads rotated{q, c_.heads, c_.qk_rope_head_dim, c_.qk_rope_head_dim};
    const double rope = timer_.time(
        [&] { b_.rope(layout, rotated, cosines, sines, RopeLayout::interleaved, rotated); });
    timer_.report("rope", fmt::format("{} x {} x {}", rows, c_.heads, c_.qk_rope_head_dim), rope, 0,
                  2 * element * static_cast<double>(rows * q.cols()));
    if (c_.output_gate != OutputGate::none) gate(layout);
    if (c_.streams) streams(layout);
    if (c_.compressed) time_pooling(c_, rows, timer_);
  }

  // Of the indexer's keys.
  void index_norm(const RowLayout& layout) {
    const std::int64_t rows = layout.total;
    const Tensor keys = timer_.random(rows, c_.index_head_dim, b_.index_activation());
    const double layer_norm = timer_.time([&] {
      b_.layer_norm(layout, keys, w_.indexer->k_norm, w_.indexer->k_norm_bias, 1e-6f, keys);
    });
    timer_.report("layer_norm", fmt::format("{} x {}", rows, c_.index_head_dim), layer_norm, 0,
                  2.0 * static_cast<double>(size_of(keys.dtype())) *
                      static_cast<double>(rows * c_.index_head_dim));
  }

  // The gate on the results of the heads.
  void gate(const RowLayout& layout) {
    const std::int64_t width = c_.heads * c_.v_head_dim;
    const Tensor gates = timer_.activations(layout.total, width);
    const Tensor values = timer_.activations(layout.total, width);
    const double seconds =
        timer_.time([&] { b_.sigmoid_gate(layout, one_head(gates), one_head(values)); });
    timer_.report("gate", fmt::format("{} x {}", layout.total, width), seconds, 0,
                  3.0 * static_cast<double>(size_of(b_.activation())) *
                      static_cast<double>(layout.total * width));
  }

  // Reading takes a product and two looks at the streams, writing one look and the result.
  void streams(const RowLayout& layout) {
    const std::int64_t rows = layout.total;
    const Tensor residual = timer_.random(rows, c_.residual_width(), DType::f32);
    const Tensor x = timer_.random(rows, c_.hidden, DType::f32);
    const Tensor factors = b_.allocate(rows, c_.streams->coefficients());
    const StreamWeights& weights = *w_.attention_input.streams;
    const std::string shape = fmt::format("{} x {} x {}", rows, c_.streams->count, c_.hidden);
    const auto bytes = static_cast<double>(4 * rows * c_.residual_width());
    const auto result = static_cast<double>(4 * rows * c_.hidden);
    const double read =
        timer_.time([&] { b_.read_streams(layout, residual, weights, *c_.streams, x, factors); });
    timer_.report("read streams", shape, read, 0, bytes + result);
    b_.fill_zero(x);  // what is added over and over again
    const double write = timer_.time([&] { b_.write_streams(layout, x, factors, residual); });
    timer_.report("write streams", shape, write, 0, 2 * bytes + result);
  }

  void feed_forward() {
    const std::int64_t rows = std::min<std::int64_t>(context_, 16384);
    RowLayout layout;
    layout.append(rows, 0);
    const Tensor x = timer_.activations(rows, c_.hidden);
    const Tensor residual = timer_.random(rows, c_.hidden, DType::f32);
    if (w_.mlp) {
      const double mlp =
          timer_.time([&] { b_.gated_mlp(layout, x, w_.mlp->gate_up, w_.mlp->down, residual); });
      const std::int64_t width = w_.mlp->down.cols();
      timer_.report("gated MLP", fmt::format("{} rows, {}", rows, width), mlp,
                    6.0 * static_cast<double>(rows) * static_cast<double>(width * c_.hidden), 0);
    }
    if (w_.moe) {
      const Tensor logits = timer_.random(rows, c_.routed_experts, DType::f32);
      const Routing routing = b_.route(layout, logits, w_.moe->correction_bias, c_.router);
      const double route =
          timer_.time([&] { b_.route(layout, logits, w_.moe->correction_bias, c_.router); });
      timer_.report("route",
                    fmt::format("{} of {} experts", c_.router.experts_used, c_.routed_experts),
                    route, 0, static_cast<double>(rows * c_.routed_experts) * 4);
      const double experts = timer_.time(
          [&] { b_.experts(layout, x, routing, w_.moe->experts, residual, c_.expert_limit); });
      timer_.report(
          "experts",
          fmt::format("{} rows, {} x {}", rows, c_.router.experts_used, c_.moe_intermediate),
          experts,
          6.0 * static_cast<double>(rows * c_.router.experts_used) *
              static_cast<double>(c_.moe_intermediate * c_.hidden),
          0);
    }
  }

  void loss() {
    const std::int64_t rows = std::min<std::int64_t>(context_, 16384);
    RowLayout layout;
    layout.append(rows, 0);
    const Tensor x = timer_.activations(rows, c_.hidden);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(rows), 1);
    const Tensor targets = b_.upload(std::span<const std::int32_t>(ids), rows, 1);
    const double loss = timer_.time([&] { b_.next_token_loss(layout, x, lm_head_, targets); });
    timer_.report("next-token loss", fmt::format("{} rows, {} tokens", rows, c_.vocabulary), loss,
                  static_cast<double>(rows) * loss_row_operations(c_), 0);
  }

  void overlap() {
    const std::int64_t rows = std::min<std::int64_t>(place_.rows.total, 2048);
    RowLayout last;
    last.append(rows, context_ - rows);
    const Tensor sets = sets_.row_range(place_.rows.total - rows, rows);
    const std::vector<Tensor> all(c_.letters(), sets);
    const std::vector<std::int64_t> ends = {context_};
    const double seconds = timer_.time([&] { b_.overlap_counts(last, all, ends); });
    timer_.report("overlap", fmt::format("{} layers, {} queries", all.size(), rows), seconds, 0,
                  4.0 * static_cast<double>(all.size()) * static_cast<double>(rows * c_.index_topk),
                  "us/query", seconds / static_cast<double>(rows) * 1e6);
  }

  const ModelConfig& c_;
  Backend& b_;
  const LayerWeights& w_;
  const Tensor &embedding_, &lm_head_;
  std::vector<std::string> only_;
  int shared_;
  OpsTimer timer_;
  std::int64_t context_ = 0;
  Place place_;
  Tensor sets_;
};

}  // namespace

Json bench_ops(BenchModel& model, const BenchOptions& options, bool json) {
  OpsBench bench(model, options, json);
  for (const std::int64_t context : options.contexts) {
    if (!json) write_output("context {}\n", context);
    bench.run(context, options.rows);
  }
  return bench.take();
}

}  // namespace indexcache
