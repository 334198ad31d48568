// SPDX-License-Identifier: Apache-2.0
#include "bench_entries.h"

#include "model/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace indexcache {
namespace {

constexpr std::int64_t kSelected = CompressedAttention::kSelectedRatio;

// Those of the model's layers, without that of layers that have no entries.
std::set<std::int64_t> ratios_with_entries(const ModelConfig& config) {
  std::set<std::int64_t> ratios(config.compressed->ratios.begin(), config.compressed->ratios.end());
  ratios.erase(1);
  return ratios;
}

RowLayout entries_of(std::int64_t context, std::int64_t ratio) {
  RowLayout rows;
  rows.append(context / ratio, 0, ratio);
  return rows;
}

}  // namespace

void time_entry_products(const ModelConfig& c, const LayerWeights& layer, std::int64_t rows,
                         OpsTimer& timer) {
  timer.product("entries", rows, layer.entries->projections);
  timer.product("index entries", rows, layer.indexer->entries->projections);
  timer.head_product("o_groups", rows, c.compressed->output_groups, layer.o_groups);
}

void time_pooling(const ModelConfig& c, std::int64_t context, OpsTimer& timer) {
  RowLayout rows;
  rows.append(context, 0);
  const std::int64_t width = c.latent_width();
  for (const std::int64_t ratio : ratios_with_entries(c)) {
    const std::int64_t n = ratio == kSelected ? 2 * width : width;
    const RowLayout entry_rows = entries_of(context, ratio);
    if (entry_rows.total == 0) continue;
    const Tensor x = timer.activations(context, 2 * n);
    const Tensor bias = timer.random(ratio, n, DType::f32);
    const Tensor out = timer.activations(entry_rows.total, width);
    const double seconds =
        timer.time([&] { timer.backend().pool_entries(rows, x, bias, entry_rows, out); });
    const auto bytes = static_cast<double>(size_of(x.dtype())) *
                       static_cast<double>(x.rows() * x.cols() + out.rows() * out.cols());
    timer.report("pool entries", fmt::format("{} of {} positions", entry_rows.total, ratio),
                 seconds, 0, bytes);
  }
}

void time_window_attention(const ModelConfig& c, const LayerWeights& layer, std::int64_t context,
                           const Tensor& sets, OpsTimer& timer) {
  const std::int64_t rows = sets.rows(), width = c.latent_width(), window = c.compressed->window;
  RowLayout last, all;
  last.append(rows, context - rows);
  all.append(context, 0);
  const Heads queries = timer.heads(rows, c.heads, width), out = timer.heads(rows, c.heads, width);
  const Tensor keys = timer.activations(context, width);
  const auto attend = [&](const std::string& name, std::int64_t recent, std::int64_t ratio,
                          const Tensor& chosen) {
    const RowLayout entry_rows = entries_of(context, ratio);
    const Tensor entries = timer.activations(entry_rows.total, width);
    const double seconds = timer.time([&] {
      timer.backend().window_attention(last, queries,
                                       {all, keys, recent, entry_rows, entries, chosen},
                                       c.softmax_scale(), out, layer.sinks);
    });
    double pairs = 0;
    for (std::int64_t t = context - rows; t < context; ++t) {
      pairs += static_cast<double>(std::min(recent, t + 1));
      pairs += static_cast<double>(chosen.empty() ? candidates_at(t, ratio) : chosen.cols());
    }
    timer.report(name,
                 fmt::format("{} rows, {} heads, {:.0f} keys", rows, c.heads,
                             pairs / static_cast<double>(rows)),
                 seconds, pairs * attention_pair_operations(c), 0);
  };
  // A window of one position: what the entries take.
  attend("chosen entries", 1, kSelected, sets);
  attend("window + chosen", window, kSelected, sets);
  for (const std::int64_t ratio : ratios_with_entries(c)) {
    if (ratio == kSelected || context / ratio == 0) continue;
    attend(fmt::format("window + all 1/{}", ratio), window, ratio, Tensor());
  }
}

}  // namespace indexcache
