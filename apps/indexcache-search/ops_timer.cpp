// SPDX-License-Identifier: Apache-2.0
#include "ops_timer.h"

#include "bench.h"
#include "core/console.h"

#include <fmt/format.h>

namespace indexcache {

Tensor OpsTimer::random(std::int64_t rows, std::int64_t cols, DType dtype) {
  Tensor tensor = backend_.allocate(rows, cols, dtype);
  backend_.fill_random(tensor, 1.0f, 0.0f, ++seed_);
  return tensor;
}

Tensor OpsTimer::activations(std::int64_t rows, std::int64_t cols) {
  return random(rows, cols, backend_.activation());
}

Heads OpsTimer::heads(std::int64_t rows, std::int64_t count, std::int64_t width) {
  return {activations(rows, count * width), count, width, width};
}

Tensor OpsTimer::projection(std::int64_t rows, std::int64_t cols) {
  if (!backend_.keeps_fp8() || rows % 16 != 0 || cols % 16 != 0) return activations(rows, cols);
  const Tensor scales = random(scale_blocks(rows), scale_blocks(cols), DType::f32);
  return random(rows, cols, DType::f8_e4m3).with_scales(scales);
}

double OpsTimer::time(const std::function<void()>& body) {
  return median_seconds(backend_, repeat_, body);
}

void OpsTimer::report(const std::string& name, const std::string& shape, double seconds,
                      double flop, double bytes, const std::string& unit, double unit_value) {
  const double tflops = flop / seconds * 1e-12, tbs = bytes / seconds * 1e-12;
  Json result{{"name", name}, {"shape", shape}, {"milliseconds", seconds * 1e3}};
  std::string line = fmt::format("  {:<18} {:<34} {:>10.3f} ms", name, shape, seconds * 1e3);
  if (flop > 0) {
    result["tflops"] = tflops;
    line += fmt::format("  {:>6.1f} TFLOP/s", tflops);
    if (tflops_ceiling_ > 0) {
      result["share_of_ceiling"] = tflops / tflops_ceiling_;
      line += fmt::format(" {:>4.0f}%", 100 * tflops / tflops_ceiling_);
    }
  } else if (bytes > 0) {
    result["tb_per_s"] = tbs;
    line += fmt::format("  {:>6.2f} TB/s   ", tbs);
    if (tbs_ceiling_ > 0) {
      result["share_of_ceiling"] = tbs / tbs_ceiling_;
      line += fmt::format(" {:>4.0f}%", 100 * tbs / tbs_ceiling_);
    }
  }
  if (!unit.empty()) {
    result[unit] = unit_value;
    line += fmt::format("  {:.2f} {}", unit_value, unit);
  }
  results_.push_back(result);
  if (!json_) write_output("{}\n", line);
  flush_output();
}

double OpsTimer::product(const std::string& name, std::int64_t rows, const Tensor& weight) {
  const std::int64_t in = weight.cols(), out = weight.rows();
  RowLayout layout;
  layout.append(rows, 0);
  const Tensor x = activations(rows, in), y = activations(rows, out);
  const double seconds = time([&] { backend_.linear(layout, x, weight, y); });
  const double flop =
      2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const std::string type = weight.dtype() == DType::f8_e4m3 ? ", FP8" : "";
  report(name, fmt::format("{} x {} -> {}{}", rows, in, out, type), seconds, flop, 0);
  return flop / seconds * 1e-12;
}

void OpsTimer::head_product(const std::string& name, std::int64_t rows, std::int64_t count,
                            const Tensor& weight) {
  const std::int64_t in = weight.cols(), out = weight.rows() / count;
  RowLayout layout;
  layout.append(rows, 0);
  const Heads x = heads(rows, count, in), y = heads(rows, count, out);
  const double seconds = time([&] { backend_.head_linear(layout, x, weight, y); });
  report(name, fmt::format("{} x {} x {} -> {}", rows, count, in, out), seconds,
         2.0 * static_cast<double>(rows) * static_cast<double>(count * in * out), 0);
}

}  // namespace indexcache
