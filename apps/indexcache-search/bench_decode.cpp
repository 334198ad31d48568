// SPDX-License-Identifier: Apache-2.0
// bench decode: a step of decoding for some patterns, split by component, and what its reads of
// keys would take at the rate of a copy.
#include "bench.h"
#include "core/console.h"
#include "core/count_text.h"
#include "search/decode_time.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

// The product with lm_head is the only part of a step that counts as loss.
std::string part_name(std::size_t part) {
  const bool head = part == static_cast<std::size_t>(Component::loss);
  return head ? "lm_head" : std::string(kComponentNames[part]);
}

// Bytes per second that a large copy reads and writes.
double copy_rate(Backend& backend, int repeat) {
  RowLayout rows;
  rows.append(backend.is_gpu() ? 1 << 18 : 1 << 14, 0);
  const Tensor from = backend.allocate(rows.total, 1024), to = backend.allocate(rows.total, 1024);
  backend.fill_zero(from);
  const double seconds =
      median_seconds(backend, repeat, [&] { backend.copy_rows(rows, from, rows, to); });
  return 2.0 * 4.0 * 1024 * static_cast<double>(rows.total) / seconds;
}

// What reading keys takes at least, in seconds of a step.
struct Limits {
  double index_keys, latents;
};

Limits limits_of(const DecodeTimes& times, const Pattern& pattern, double rate) {
  const auto seconds = [rate](std::int64_t bytes, std::size_t layers) {
    return static_cast<double>(bytes) * static_cast<double>(layers) / rate;
  };
  return {seconds(times.index_bytes, pattern.full_count()),
          seconds(times.latent_bytes, pattern.layers())};
}

Json row_of(const Pattern& pattern, const DecodeTime& time, const DecodeTime& first,
            const Limits& limits) {
  Json parts = Json::object();
  for (std::size_t part = 0; part < kComponents; ++part) {
    parts[part_name(part)] = time.parts[part] * 1e3;
  }
  return {{"pattern", pattern.text()},
          {"full_layers", pattern.full_count()},
          {"milliseconds", time.seconds * 1e3},
          {"speed_up", first.seconds / time.seconds},
          {"launched_milliseconds", time.launched_seconds * 1e3},
          {"launched_speed_up", first.launched_seconds / time.launched_seconds},
          {"component_milliseconds", parts},
          {"index_read_milliseconds", limits.index_keys * 1e3},
          {"latent_read_milliseconds", limits.latents * 1e3}};
}

void print_header(const DecodeLoad& load, const DecodeTimes& times, const ModelConfig& config) {
  write_output("context {}, batch {}; caches of {} of {} layers, used in turn\n",
               count_text(load.context), load.batch, times.cached_layers, config.layers);
  write_output("  {:<14} {:>9} {:>7} {:>11} {:>7}", "pattern", "ms", "speed", "launched ms",
               "speed");
  for (std::size_t part = 0; part < kComponents; ++part) write_output(" {:>16}", part_name(part));
  write_output("\n");
}

void print_row(const std::string& spec, const DecodeTime& time, const DecodeTime& first,
               const Limits& limits) {
  write_output("  {:<14} {:>9.2f} {:>6.2f}x {:>11.2f} {:>6.2f}x", spec, time.seconds * 1e3,
               first.seconds / time.seconds, time.launched_seconds * 1e3,
               first.launched_seconds / time.launched_seconds);
  for (const double part : time.parts) write_output(" {:>16.3f}", part * 1e3);
  write_output("\n  {:<14} reads at the rate of a copy: index keys {:.3f} ms, latents {:.3f} ms\n",
               "", limits.index_keys * 1e3, limits.latents * 1e3);
  flush_output();
}

}  // namespace

Json bench_decode(BenchModel& model, const BenchOptions& options, bool json) {
  std::vector<Pattern> patterns;
  for (const std::string& spec : options.patterns) patterns.push_back(model.pattern(spec));
  const double rate = copy_rate(model.backend(), options.repeat);
  if (!json) write_output("a copy reads and writes {:.2f} TB/s\n", rate * 1e-12);
  Json points = Json::array();
  for (const std::int64_t context : options.contexts) {
    check_context(model.config(), context);
    for (const std::int64_t batch : options.batches) {
      const DecodeLoad load{context, batch, options.kv_cache};
      const DecodeTimes times =
          time_decode(model.config(), model.weights(), model.backend(), patterns, load,
                      model.memory().memory_bytes, options.repeat);
      if (!json) print_header(load, times, model.config());
      Json rows = Json::array();
      for (std::size_t p = 0; p < patterns.size(); ++p) {
        const Limits limits = limits_of(times, patterns[p], rate);
        rows.push_back(row_of(patterns[p], times.patterns[p], times.patterns.front(), limits));
        if (!json) {
          print_row(options.patterns[p], times.patterns[p], times.patterns.front(), limits);
        }
      }
      points.push_back({{"context", context},
                        {"batch", batch},
                        {"cached_layers", times.cached_layers},
                        {"kv_cache", options.kv_cache == PageLayout::plain ? "plain" : "fp8"},
                        {"patterns", rows}});
    }
  }
  return points;
}

}  // namespace indexcache
