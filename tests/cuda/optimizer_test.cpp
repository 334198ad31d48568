// SPDX-License-Identifier: Apache-2.0
// The rest of a training step: gradients of matrices and norms, norms of gradients, Adam; the GPU
// against the CPU backend.
#include "cuda/gpu.h"

#include <array>
#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

RowLayout layout_of(std::int64_t rows) {
  RowLayout layout;
  layout.append(rows, 0);
  return layout;
}

}  // namespace

TEST_CASE("GPU gradients of matrices") {
  struct Sizes {
    std::int64_t rows, in, out;
  };
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    for (const Sizes& s : {Sizes{300, 256, 128},
                           {1, 8, 8},
                           {4096, 64, 256},
                           {1000, 256, 4},
                           {700, 20, 3},
                           {33, 72, 65}}) {
      INFO(name_of(precision) << ", " << s.rows << " rows, " << s.in << " to " << s.out);
      const auto x = gpu.random(s.rows, s.in, 31);
      const auto d_out = random_floats(count_of(s.rows, s.out), 32);
      const auto before = random_floats(count_of(s.out, s.in), 33);
      const auto run = [&](Backend& b) {
        const Tensor gradient = b.upload(before, s.out, s.in);
        b.linear_backward(layout_of(s.rows), b.upload_matrix(x, s.rows, s.in),
                          b.upload(d_out, s.rows, s.out), gradient);
        return b.download(gradient);
      };
      CpuBackend cpu;
      const auto actual = run(gpu.backend);
      CHECK_CLOSE(actual, run(cpu), 1e-5);
      CHECK(run(gpu.backend) == actual);
    }
  }
}

TEST_CASE("GPU backward of LayerNorm") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    for (const std::int64_t width : {1, 20, 64, 128, 1100}) {
      const RowLayout rows = ragged_rows();
      const auto x = gpu.random(rows.total, width, 41);
      const auto weight = random_floats(count_of(1, width), 42);
      const auto d_out = random_floats(count_of(rows.total, width), 43);
      const auto before = random_floats(count_of(2, width), 44);
      const auto run = [&](Backend& b) {
        const Tensor gradient = b.upload(d_out, rows.total, width);
        const Tensor sums = b.upload(before, 2, width);
        b.layer_norm_backward(rows, b.upload_matrix(x, rows.total, width),
                              b.upload(weight, 1, width), 1e-6f, gradient, sums.row_range(0, 1),
                              sums.row_range(1, 1));
        return std::pair(b.download(gradient), b.download(sums));
      };
      CpuBackend cpu;
      const auto actual = run(gpu.backend), expected = run(cpu);
      INFO(name_of(precision) << ", width " << width);
      // One column has no variance: what remains are roundings, times 1,000.
      if (width > 1) CHECK_CLOSE(actual.first, expected.first, 1e-5);
      CHECK_CLOSE(actual.second, expected.second, 1e-5);
      CHECK(run(gpu.backend) == actual);
    }
  }
}

TEST_CASE("GPU sums, zeros and conversions of tensors") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    CudaBackend& b = gpu.backend;
    const std::int64_t rows = 77, cols = 36;
    const auto x = random_floats(count_of(rows, cols), 51);
    const auto y = random_floats(count_of(rows, cols), 52);
    const Tensor a = b.upload(x, rows, cols), out = b.upload(y, rows, cols);
    b.add(a, out);
    auto expected = y;
    for (std::size_t i = 0; i < x.size(); ++i) expected[i] += x[i];
    CHECK(b.download(out) == expected);

    b.fill_zero(out.columns(3, 7));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::size_t column = i % static_cast<std::size_t>(cols);
      if (column >= 3 && column < 10) expected[i] = 0;
    }
    CHECK(b.download(out) == expected);

    const Tensor rounded = b.allocate(rows * cols / 4, 4, b.activation());
    b.convert(a, rounded);
    CHECK(b.download(rounded) == (gpu.bf16 ? to_bf16(x) : x));
  }
}

TEST_CASE("GPU norms of gradients") {
  Gpu gpu(Precision::fp32);
  CudaBackend& b = gpu.backend;
  for (const std::int64_t n : {1, 255, 8192, 100003}) {
    const std::int64_t rows = 5;
    const auto x = random_floats(count_of(rows, n), 61);
    const Tensor tensor = b.upload(x, rows, n);
    const auto norms = b.squared_norms(tensor);
    REQUIRE(norms.size() == 5);
    for (std::int64_t row = 0; row < rows; ++row) {
      double expected = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double value = x[static_cast<std::size_t>(row * n + i)];
        expected += value * value;
      }
      INFO(n << " elements, row " << row);
      const double norm = norms[static_cast<std::size_t>(row)];
      CHECK(std::abs(norm - expected) <= 1e-12 * expected);
      CHECK(b.squared_norms(tensor.row_range(row, 1)).front() == norm);
    }
  }
}

TEST_CASE("GPU steps of Adam") {
  Gpu gpu(Precision::fp32);
  CpuBackend cpu;
  const std::int64_t rows = 3, n = 1001;
  const auto run = [&](Backend& b) {
    std::uint32_t seed = 71;
    const auto random = [&] { return b.upload(random_floats(count_of(rows, n), ++seed), rows, n); };
    const Tensor parameters = random(), mean = b.allocate(rows, n), variance = b.allocate(rows, n);
    b.fill_zero(mean);
    b.fill_zero(variance);
    for (std::int64_t step = 1; step <= 4; ++step) {
      b.adam({.rate = 0.01f,
              .beta1 = 0.9f,
              .beta2 = 0.999f,
              .epsilon = 1e-8f,
              .step = step,
              .scales = {1.0f, 0.25f, 0.0f}},
             random(), mean, variance, parameters);
    }
    return std::array{b.download(parameters), b.download(mean), b.download(variance)};
  };
  const auto actual = run(gpu.backend), expected = run(cpu);
  for (std::size_t i = 0; i < actual.size(); ++i) CHECK_CLOSE(actual[i], expected[i], 1e-6);
  CHECK(run(gpu.backend) == actual);
}
