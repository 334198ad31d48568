// SPDX-License-Identifier: Apache-2.0
#include "search/decode_time.h"

#include "backend/without_stamps.h"
#include "core/bytes.h"
#include "core/error.h"
#include "model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

namespace indexcache {
namespace {

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

PageFormat latent_format(const ModelConfig& config, const Backend& backend, PageLayout layout) {
  if (layout == PageLayout::plain) return {layout, backend.activation(), config.latent_width()};
  if (config.kv_lora_rank != kLatentFp8Rank || config.qk_rope_head_dim != kLatentFp8Rope) {
    throw UsageError(
        {"this model has no FP8 layout of its KV cache", "--kv-cache fp8",
         fmt::format("the layout holds {} + {} numbers, and the model has {} + {}", kLatentFp8Rank,
                     kLatentFp8Rope, config.kv_lora_rank, config.qk_rope_head_dim),
         "leave the option out"});
  }
  return {layout, DType::f8_e4m3, config.latent_width()};
}

// Sequences with caches, and a step of each pattern.
class DecodeBatch {
 public:
  DecodeBatch(const ModelConfig& config, WeightSource& weights, Backend& backend,
              const DecodeLoad& load, std::int64_t memory_bytes)
      : c_(config),
        weights_(weights),
        b_(backend),
        load_(load),
        decoder_(config, backend, load.context),
        latents_(latent_format(config, backend, load.latents)),
        index_keys_(backend.index_page_format(config.index_head_dim)) {
    for (std::int64_t s = 0; s < load.batch; ++s) rows_.append(1, load.context - 1);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(load.batch), 1);
    tokens_ = b_.upload(std::span<const std::int32_t>(ids), load.batch, 1);
    make_tables();
    const std::int64_t layers = affordable_layers(memory_bytes);
    for (std::int64_t layer = 0; layer < layers; ++layer) caches_.push_back(random_cache());
  }

  std::int64_t cached_layers() const { return static_cast<std::int64_t>(caches_.size()); }
  std::int64_t index_bytes() const {
    return load_.batch * load_.context * index_keys_.position_bytes();
  }
  std::int64_t latent_bytes() const {
    return load_.batch * std::min(load_.context, c_.index_topk) * latents_.position_bytes();
  }

  void step(const Pattern& pattern) {
    const Tensor hidden = decoder_.embed(weights_.embedding(), tokens_, Memory::state);
    decoder_.step(weights_, pattern, rows_, tables_, caches_, hidden);
    decoder_.loss(weights_, rows_, hidden, tokens_);
  }

 private:
  std::int64_t sequence_pages() const { return pages_of(load_.context); }

  void make_tables() {
    std::vector<std::int32_t> pages(static_cast<std::size_t>(load_.batch * sequence_pages()));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(7));
    tables_ = b_.upload(std::span<const std::int32_t>(pages), load_.batch, sequence_pages());
  }

  std::int64_t affordable_layers(std::int64_t memory_bytes) const {
    // Copies that keep the device busy, pieces of random keys, what parts of attention leave.
    const std::int64_t rest = b_.is_gpu() ? std::int64_t{1} << 30 : 0;
    const std::int64_t layer_bytes =
        load_.batch * sequence_pages() * (latents_.page_bytes() + index_keys_.page_bytes());
    const std::int64_t step_bytes = load_.batch * Decoder::row_bytes(c_, b_) +
                                    b_.scratch_bytes(c_.shape(), load_.batch, load_.context) +
                                    b_.logits_bytes(c_.shape(), load_.batch, load_.context) +
                                    4 * load_.batch * load_.context + rest;
    const std::int64_t layers = (memory_bytes - step_bytes) / layer_bytes;
    if (layers >= 1) return std::min(layers, c_.layers);
    throw ResourceError(
        {"the caches of a single layer do not fit on the device",
         fmt::format("--context {} --batch {}", load_.context, load_.batch),
         fmt::format("they take {:.1f} GiB; {:.1f} GiB are free next to the weights and what a "
                     "step needs",
                     gib(layer_bytes), gib(std::max<std::int64_t>(memory_bytes - step_bytes, 0))),
         "a shorter --context, a smaller --batch, or --kv-cache fp8"});
  }

  LayerPages random_cache() {
    const std::int64_t pages = load_.batch * sequence_pages();
    LayerPages cache{allocate_pages(b_, latents_, pages), allocate_pages(b_, index_keys_, pages)};
    fill(cache.latents, b_.activation());
    fill(cache.index_keys, b_.index_activation());
    return cache;
  }

  // Writes random keys to all positions, in pieces of bounded size.
  void fill(const PagedCache& cache, DType type) {
    constexpr std::int64_t kPiece = 1 << 16;
    const Tensor x = b_.allocate(std::min(kPiece, load_.context), cache.format.width, type);
    for (std::int64_t s = 0; s < load_.batch; ++s) {
      for (std::int64_t first = 0; first < load_.context; first += kPiece) {
        RowLayout rows;
        rows.append(std::min(kPiece, load_.context - first), first);
        b_.fill_random(x, 1.0f, 0.0f, ++seed_);
        b_.write_pages(rows, x.row_range(0, rows.total), tables_.row_range(s, 1), cache);
      }
    }
  }

  const ModelConfig& c_;
  WeightSource& weights_;
  Backend& b_;
  DecodeLoad load_;
  Decoder decoder_;
  PageFormat latents_, index_keys_;
  RowLayout rows_;
  Tensor tokens_, tables_;
  std::vector<LayerPages> caches_;
  std::uint64_t seed_ = 0;
};

// Keeps a GPU busy with copies while the host queues a step: launching takes longer than many of a
// step's operations.
class BusyDevice {
 public:
  BusyDevice(Backend& backend, double seconds) : b_(backend) {
    if (!b_.is_gpu()) return;
    rows_.append(1 << 16, 0);
    from_ = b_.allocate(rows_.total, 1024);
    to_ = b_.allocate(rows_.total, 1024);
    b_.fill_zero(from_);
    const auto copy = [&] { b_.copy_rows(rows_, from_, rows_, to_); };
    b_.measure(copy);
    copies_ = static_cast<int>(std::ceil(2 * seconds / b_.measure(copy))) + 1;
  }

  void queue() {
    for (int i = 0; i < copies_; ++i) b_.copy_rows(rows_, from_, rows_, to_);
  }

 private:
  Backend& b_;
  RowLayout rows_;
  Tensor from_, to_;
  int copies_ = 0;
};

DecodeTime time_step(Backend& b, const std::function<void()>& step, int repeat) {
  const auto timed = [&](const std::function<void()>& body) {
    std::vector<double> seconds;
    for (int i = 0; i < repeat; ++i) seconds.push_back(b.measure(body));
    return median(std::move(seconds));
  };
  step();  // what is done once: algorithms, layouts, memory
  DecodeTime time{};
  time.launched_seconds = timed(step);
  BusyDevice busy(b, time.launched_seconds);
  const auto ahead = [&] { busy.queue(); };
  time.seconds = b.is_gpu() ? timed([&] {
                                ahead();
                                step();
                              }) - timed(ahead)
                            : time.launched_seconds;
  std::vector<ComponentProfile> runs;
  for (int i = 0; i < repeat; ++i) {
    ahead();
    b.start_profile();
    step();
    runs.push_back(b.take_profile());
  }
  ComponentProfile stamped = runs.front();
  for (std::size_t part = 0; part < kComponents; ++part) {
    std::vector<double> seconds;
    for (const ComponentProfile& run : runs) seconds.push_back(run.seconds[part]);
    stamped.seconds[part] = median(std::move(seconds));
  }
  time.parts = without_stamps(stamped, time.seconds);
  return time;
}

}  // namespace

DecodeTimes time_decode(const ModelConfig& config, WeightSource& weights, Backend& backend,
                        std::span<const Pattern> patterns, const DecodeLoad& load,
                        std::int64_t memory_bytes, int repeat) {
  if (config.indexer) {
    throw UsageError({"decode selects among all positions", "--indexer",
                      "HISA is measured in prefills only", "--indexer exact"});
  }
  DecodeBatch batch(config, weights, backend, load, memory_bytes);
  DecodeTimes times{batch.cached_layers(), batch.index_bytes(), batch.latent_bytes(), {}};
  for (const Pattern& pattern : patterns) {
    times.patterns.push_back(time_step(
        backend, [&] { batch.step(pattern); }, repeat));
  }
  return times;
}

}  // namespace indexcache
