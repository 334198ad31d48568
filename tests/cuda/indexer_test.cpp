// SPDX-License-Identifier: Apache-2.0
// Indexer logits against double precision on the same rounded operands, FP8 quantization against
// its definition, top-k and overlap against the CPU backend, exactly.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "cuda/gpu.h"
#include "kernels/indexer_logits.h"
#include "kernels/quantize_index.h"
#include "kernels/top_k.h"

#include <algorithm>
#include <map>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Launch = cudaError_t (*)(const kernels::IndexerLogitsParams&, cudaStream_t);

struct Shape {
  int heads, width;
};

// Codes of e4m3 by value: what a quantized number is stored as.
std::uint8_t e4m3_code(float value) {
  static const std::map<float, std::uint8_t> codes = [] {
    std::map<float, std::uint8_t> by_value;
    for (int code = 255; code >= 0; --code) {
      const float v = e4m3_to_float(static_cast<std::uint8_t>(code));
      if (std::isfinite(v)) by_value[v + 0.0f] = static_cast<std::uint8_t>(code);
    }
    return by_value;
  }();
  return codes.at(value + 0.0f);
}

// The nearest e4m3 value, ties to the even code.
float to_e4m3(float x) {
  x = std::clamp(x, -448.0f, 448.0f);
  int exponent = 0;
  std::frexp(x, &exponent);
  const float step = std::ldexp(1.0f, std::max(exponent - 4, -9));
  return std::nearbyint(x / step) * step;
}

// Operands in a kernel's type on the device.
struct Operand {
  Tensor tensor;
  const void* data() const { return tensor.data<void>(); }
};

Operand put(CudaBackend& b, std::vector<float> values, std::int64_t rows, std::int64_t cols,
            kernels::Type type) {
  if (type != kernels::Type::e4m3) return {b.upload_matrix(std::move(values), rows, cols)};
  std::vector<std::int32_t> packed((values.size() + 3) / 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    reinterpret_cast<std::uint8_t*>(packed.data())[i] = e4m3_code(values[i]);
  }
  return {
      b.upload(std::span<const std::int32_t>(packed), static_cast<std::int64_t>(packed.size()), 1)};
}

// Logits of every row, NaN where the kernel leaves a column alone. A key represents `rate`
// positions.
void check_logits(Launch launch, kernels::Type type, const Shape& shape, double tolerance,
                  std::int64_t rate) {
  const std::int64_t heads = shape.heads, width = shape.width;
  RowLayout rows, keys;
  for (const auto& [first, count] : {std::pair{0, 1}, {5, 150}, {130, 131}, {0, 64}, {300, 7}}) {
    rows.append(count, first);
    keys.append((first + count) / rate, 0, rate);
  }
  CudaBackend b({type == kernels::Type::f32 ? Precision::fp32 : Precision::bf16, Precision::fp32});
  const auto operand = [&](std::int64_t n, std::uint32_t seed) {
    auto values = random_floats(static_cast<std::size_t>(n), seed);
    if (type == kernels::Type::bf16) return to_bf16(std::move(values));
    if (type == kernels::Type::e4m3) {
      for (float& value : values) value = to_e4m3(value * 100);
    }
    return values;
  };
  const auto q = operand(rows.total * heads * width, 71);
  const auto k = operand(keys.total * width, 72);
  const auto w = random_floats(count_of(rows.total, heads), 73);
  const auto scales = random_floats(static_cast<std::size_t>(keys.total), 74);
  const bool fp8 = type == kernels::Type::e4m3;

  const std::int64_t stride = 312;
  std::vector<float> expected(count_of(rows.total, stride), 0.0f);
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment& segment = rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      for (std::int64_t u = 0; (u + 1) * rate <= segment.first_position + i + 1; ++u) {
        const std::int64_t row = segment.first_row + i, key = keys.segments[s].first_row + u;
        double sum = 0;
        for (std::int64_t h = 0; h < heads; ++h) {
          const float* a = q.data() + (row * heads + h) * width;
          const float* c = k.data() + key * width;
          const double dot = std::inner_product(a, a + width, c, 0.0);
          sum += w[count_of(row, heads) + static_cast<std::size_t>(h)] * std::max(dot, 0.0);
        }
        if (fp8) sum *= scales[static_cast<std::size_t>(key)];
        expected[count_of(row, stride) + static_cast<std::size_t>(u)] = static_cast<float>(sum);
      }
    }
  }
  const Operand dq = put(b, q, rows.total, heads * width, type);
  const Operand dk = put(b, k, keys.total, width, type);
  const Tensor dw = b.upload(w, rows.total, heads);
  const Tensor ds = b.upload(scales, keys.total, 1);
  const Tensor out = b.upload(std::vector<float>(expected.size(), kPoison), rows.total, stride);
  cuda::DeviceMemory memory(0, nullptr);
  cuda::LayoutCache layouts(memory, nullptr);
  const cuda::DeviceRows& places = layouts.get(rows, keys);
  synchronize();
  INDEXCACHE_CUDA(launch({.queries = dq.data(),
                          .keys = dk.data(),
                          .type = type,
                          .head_weights = dw.data<float>(),
                          .key_scales = fp8 ? ds.data<float>() : nullptr,
                          .logits = out.data<float>(),
                          .logits_stride = stride,
                          .segments = places.segments,
                          .segment_count = places.segment_count,
                          .most_rows = places.most_rows,
                          .most_keys = places.most_keys,
                          .heads = shape.heads,
                          .width = shape.width},
                         nullptr));
  synchronize();
  auto actual = b.download(out);
  std::size_t written_beyond = 0;
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    const Segment& segment = rows.segments[s];
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      for (std::int64_t u = (segment.first_position + i + 1) / rate; u < stride; ++u) {
        float& x = actual[count_of(segment.first_row + i, stride) + static_cast<std::size_t>(u)];
        written_beyond += std::isnan(x) ? 0 : 1;
        x = 0;
      }
    }
  }
  INFO(shape.heads << " heads of " << shape.width << ", " << rate << " positions per key");
  CHECK(written_beyond == 0);
  CHECK_CLOSE(actual, expected, tolerance);
}

void check_logits(Launch launch, kernels::Type type, const Shape& shape, double tolerance) {
  for (const std::int64_t rate : {1, 3, 4}) check_logits(launch, type, shape, tolerance, rate);
}

// Scores with plateaus of zeros, planted ties and a narrow range, as ReLU sums have them.
std::vector<float> tricky_scores(std::size_t length, std::uint32_t seed) {
  std::vector<float> scores = random_floats(length, seed);
  for (std::size_t i = 0; i < length; ++i) {
    switch (seed % 8) {
      case 0:
        if (i % 3 == 0) scores[i] = i % 2 == 0 ? 0.0f : -0.0f;
        if (i % 11 == 0) scores[i] = 0.25f;
        break;
      case 1:
        scores[i] = i % 997 == 5 ? 1.0f : 0.0f;
        break;
      case 2:
        scores[i] = 5.0f + 1e-3f * scores[i];  // one exponent
        break;
      case 3:
        scores[i] = std::round(scores[i] * 50);  // a hundred values
        break;
      case 4:
        scores[i] = -1.25f;
        break;
      case 5:
        scores[i] = std::max(scores[i], 0.0f);
        break;
      case 6:
        scores[i] = static_cast<float>(i) - 1000;  // a list of the best so far is full again soon
        break;
      default:
        if (i / 128 % 19 == 3) scores[i] += 4;  // the best in few places
    }
  }
  return scores;
}

struct TopKRows {
  RowLayout rows;
  std::int64_t stride;
  std::vector<float> scores;
  std::vector<std::int32_t> expected;
};

TopKRows top_k_rows(std::int64_t longest, std::int64_t k) {
  TopKRows r{{}, (longest + 3) / 4 * 4, {}, {}};
  std::uint32_t seed = 0;
  std::vector<std::uint32_t> workspace;
  for (const std::int64_t length :
       {longest, longest - 1, longest / 2 + 1, k + 1, longest, longest - 3, longest, longest,
        std::int64_t{1}, k, k / 2 + 1, longest / 2, longest - 2}) {
    const std::int64_t used = std::clamp<std::int64_t>(length, 1, longest);
    r.rows.append(1, used - 1);
    std::vector<float> row = tricky_scores(static_cast<std::size_t>(used), seed++);
    std::vector<std::int32_t> set(static_cast<std::size_t>(k), -1);
    if (used <= k) {
      std::iota(set.begin(), set.begin() + used, 0);
    } else {
      cpu::choose_isa("").arithmetic->select_top_k(row, k, workspace, set.data());
    }
    r.expected.insert(r.expected.end(), set.begin(), set.end());
    row.resize(static_cast<std::size_t>(r.stride), std::numeric_limits<float>::infinity());
    r.scores.insert(r.scores.end(), row.begin(), row.end());
  }
  return r;
}

// Calls check(name, sets) for the kernel that top_k() takes, and every other that applies. A bound
// of `longest` that is higher than needed leads to the kernels of longer rows.
template <typename Check>
void for_top_k_kernels(CudaBackend& b, const TopKRows& r, std::int64_t longest, std::int64_t k,
                       const Check& check) {
  const Tensor in = b.upload(r.scores, r.rows.total, r.stride);
  cuda::DeviceMemory memory(0, nullptr);
  cuda::LayoutCache layouts(memory, nullptr);
  const auto* places = layouts.get(r.rows, r.rows).places;
  const auto run = [&](const char* name, auto launch, std::int64_t bound) {
    const Tensor out = b.upload(
        std::span<const std::int32_t>(std::vector<std::int32_t>(count_of(r.rows.total, k), -77)),
        r.rows.total, k);
    synchronize();
    INDEXCACHE_CUDA(launch({.scores = in.data<float>(),
                            .stride = r.stride,
                            .places = places,
                            .sets = out.data<std::int32_t>(),
                            .sets_stride = k,
                            .rows = r.rows.total,
                            .k = k,
                            .longest = bound},
                           nullptr));
    synchronize();
    INFO(name << " for up to " << bound << ": up to " << longest << " scores, k " << k);
    check(b.download_indices(out));
  };
  run("top_k", kernels::top_k, longest);
  run("radix", kernels::top_k_radix, longest);
  for (const std::int64_t bound : {longest, std::max<std::int64_t>(longest, 131072)}) {
    kernels::TopKParams probe{};
    probe.rows = r.rows.total;
    probe.k = k;
    probe.longest = bound;
    if (kernels::top_k_stream_applies(probe)) run("stream", kernels::top_k_stream, bound);
    if (kernels::top_k_sm90_applies(probe)) run("cluster", kernels::top_k_sm90, bound);
  }
}

void check_top_k(CudaBackend& b, std::int64_t longest, std::int64_t k) {
  const TopKRows r = top_k_rows(longest, k);
  for_top_k_kernels(b, r, longest, k, [&](const std::vector<std::int32_t>& actual) {
    const auto wrong = std::ranges::mismatch(actual, r.expected).in1 - actual.begin();
    INFO("first difference in row " << wrong / k << ", place " << wrong % k);
    CHECK(actual == r.expected);
  });
}

// Rows of which everything, all but a few, or some is NaN.
TopKRows rows_with_nan(std::int64_t longest) {
  TopKRows r{{}, (longest + 3) / 4 * 4, {}, {}};
  for (const std::int64_t every : {1, 2, 3, 1000}) {
    for (const float nan : {kPoison, -kPoison}) {
      r.rows.append(1, longest - 1);
      std::vector<float> row = random_floats(static_cast<std::size_t>(r.stride), 5);
      for (std::size_t i = 0; i < row.size(); ++i) {
        const bool kept = every == 1000 ? i % 1000 == 7 : i % static_cast<std::size_t>(every) != 0;
        if (!kept) row[i] = nan;
      }
      r.scores.insert(r.scores.end(), row.begin(), row.end());
    }
  }
  return r;
}

// Every set has to be some k candidates, or attention reads where no key is.
void check_sets_with_nan(CudaBackend& b, std::int64_t longest, std::int64_t k) {
  const TopKRows r = rows_with_nan(longest);
  for_top_k_kernels(b, r, longest, k, [&](const std::vector<std::int32_t>& actual) {
    for (std::int64_t row = 0; row < r.rows.total; ++row) {
      const std::span set(actual.begin() + row * k, static_cast<std::size_t>(k));
      INFO("row " << row);
      CHECK(set.front() >= 0);
      CHECK(set.back() < longest);
      CHECK(std::ranges::adjacent_find(set, std::greater_equal()) == set.end());
    }
  });
}

}  // namespace

TEST_CASE("GPU indexer logits in float32") {
  for (const Shape& s : {Shape{3, 20}, {4, 64}, {8, 32}, {1, 4}, {32, 128}}) {
    check_logits(kernels::indexer_logits_f32, kernels::Type::f32, s, 2e-6);
  }
}

TEST_CASE("GPU indexer logits with warp-level tensor cores") {
  for (const auto type : {kernels::Type::bf16, kernels::Type::e4m3}) {
    for (const Shape& s : {Shape{3, 32}, {4, 64}, {8, 32}, {1, 16}, {32, 128}, {65, 48}}) {
      check_logits(kernels::indexer_logits_mma, type, s, 2e-6);
    }
  }
}

TEST_CASE("GPU indexer logits with warpgroup tensor cores") {
  if (!has_hopper_logits()) return;
  for (const int heads : {16, 32, 64}) {
    check_logits(kernels::indexer_logits_sm90, kernels::Type::bf16, {heads, 128}, 2e-6);
    // The FP8 tensor cores keep about 14 bits of a sum.
    check_logits(kernels::indexer_logits_sm90, kernels::Type::e4m3, {heads, 128}, 5e-4);
  }
}

namespace {

struct Quantized {
  std::vector<float> scales;
  std::vector<std::int32_t> bytes;  // four numbers each
};

// Vectors in the activation type of a precision.
Quantized quantized(Precision precision, const std::vector<float>& x, std::int64_t vectors,
                    std::int64_t width) {
  Gpu gpu(precision);
  CudaBackend& b = gpu.backend;
  const Tensor in = b.upload_matrix(x, vectors, width);
  const Tensor out = b.allocate(vectors, width / 4, DType::i32);
  const Tensor scales = b.upload(std::vector<float>(count_of(vectors, 1), kPoison), vectors, 1);
  synchronize();
  INDEXCACHE_CUDA(kernels::quantize_index({.x = in.data<void>(),
                                           .type = cuda::kernel_type(in.dtype()),
                                           .out = out.data<void>(),
                                           .scales = scales.data<float>(),
                                           .vectors = vectors,
                                           .width = width},
                                          nullptr));
  synchronize();
  return {b.download(scales), b.download_indices(out)};
}

}  // namespace

TEST_CASE("GPU FP8 quantization of the indexer follows its definition") {
  for (const std::int64_t width : {32, 64, 128, 256}) {
    const std::int64_t vectors = 77;
    auto x = random_floats(count_of(vectors, width), 81);
    std::fill_n(x.begin(), width, 0.0f);  // scale of 1e-4
    for (std::int64_t i = width; i < 2 * width; ++i) x[static_cast<std::size_t>(i)] *= 1e4f;
    std::vector<float> expected_scales, expected_values;
    for (std::int64_t v = 0; v < vectors; ++v) {
      std::vector<double> turned(static_cast<std::size_t>(width), 0.0);
      double largest = 1e-4;
      for (std::int64_t i = 0; i < width; ++i) {
        for (std::int64_t j = 0; j < width; ++j) {
          const int sign = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1 : -1;
          turned[static_cast<std::size_t>(i)] +=
              sign * double{to_bf16(x[count_of(v, width) + static_cast<std::size_t>(j)])};
        }
        auto& value = turned[static_cast<std::size_t>(i)];
        value = to_bf16(static_cast<float>(value / std::sqrt(static_cast<double>(width))));
        largest = std::max(largest, std::abs(value));
      }
      const double scale = std::exp2(std::ceil(std::log2(static_cast<float>(largest) / 448.0f)));
      expected_scales.push_back(static_cast<float>(scale));
      for (double value : turned) {
        expected_values.push_back(to_e4m3(static_cast<float>(value / scale)));
      }
    }
    const Quantized of_floats = quantized(Precision::fp32, x, vectors, width);
    CHECK(of_floats.scales == expected_scales);
    const std::vector<std::int32_t>& packed = of_floats.bytes;
    // bf16 holds what float32 is rounded to.
    const Quantized of_bf16 = quantized(Precision::bf16, to_bf16(x), vectors, width);
    CHECK(of_bf16.scales == of_floats.scales);
    CHECK(of_bf16.bytes == of_floats.bytes);
    std::size_t different = 0;
    for (std::size_t i = 0; i < expected_values.size(); ++i) {
      const float value = e4m3_to_float(reinterpret_cast<const std::uint8_t*>(packed.data())[i]);
      different += value != expected_values[i] ? 1 : 0;
    }
    INFO("width " << width << ": " << different << " of " << expected_values.size());
    // The butterflies add in another order: a sum near a rounding boundary may go the other way.
    CHECK(static_cast<double>(different) <= 2e-3 * static_cast<double>(expected_values.size()));
  }
}

TEST_CASE("GPU top-k equals the CPU's, with ties, plateaus and narrow ranges", "[large]") {
  CudaBackend b;
  for (const std::int64_t longest : {1, 2, 17, 200, 1030, 4096, 4099, 4999, 9001, 40000}) {
    for (const std::int64_t k : {1, 2, 3, 16, 128, 2048}) check_top_k(b, longest, k);
  }
}

TEST_CASE("GPU top-k of rows that just fit in a list or a bitmap, or do not", "[large]") {
  CudaBackend b;
  for (const std::int64_t longest : {3712, 3713, 7168, 7169, 49152, 49153, 131072, 131073}) {
    for (const std::int64_t k : {1, 2048, 3584}) check_top_k(b, longest, k);
  }
}

TEST_CASE("GPU top-k chooses candidates even if scores are NaN", "[large]") {
  CudaBackend b;
  for (const std::int64_t longest : {300, 4099, 9001, 60000, 140000}) {
    for (const std::int64_t k : {1, 128, 2048}) {
      if (k < longest) check_sets_with_nan(b, longest, k);
    }
  }
}

TEST_CASE("GPU top-k of 200,000 scores per row", "[large]") {
  CudaBackend b;
  for (const std::int64_t k : {1, 2047, 2048, 6000, 9000}) check_top_k(b, 200000, k);
}

TEST_CASE("GPU indexer selects the CPU's sets") {
  CpuBackend cpu;
  CudaBackend gpu;
  const std::int64_t heads = 8, width = 32, k = 48;
  RowLayout rows, keys;
  for (const std::int64_t length : {400, 49, 131}) {
    rows.append(length - k, k);
    keys.append(length, 0);
  }
  const auto q = random_floats(count_of(rows.total, heads * width), 91);
  const auto w = random_floats(count_of(rows.total, heads), 92);
  const auto c = random_floats(count_of(keys.total, width), 93);
  const auto select = [&](Backend& b) {
    const Tensor sets = b.upload(
        std::span<const std::int32_t>(std::vector<std::int32_t>(count_of(rows.total, k), -77)),
        rows.total, k);
    b.index_topk(rows, b.upload(q, rows.total, heads * width), b.upload(w, rows.total, heads), keys,
                 b.upload(c, keys.total, width), sets);
    return b.download_indices(sets);
  };
  CHECK(select(gpu) == select(cpu));
}

TEST_CASE("GPU counts of intersections equal the CPU's") {
  CpuBackend cpu;
  CudaBackend gpu;
  struct Sizes {
    std::size_t layers;
    std::int64_t k, first, rows, step;
  };
  for (const Sizes& s : {Sizes{2, 2, 4, 3, 1},
                         {5, 33, 40, 77, 3},
                         {16, 128, 128, 300, 1},
                         {47, 200, 70000, 5, 1},
                         {78, 64, 100, 40, 7},
                         {1, 1, 1, 1, 1}}) {
    RowLayout rows;
    rows.segments.push_back({0, s.rows, s.first, s.step});
    rows.segments.push_back({s.rows, 2, s.first, s.step});
    rows.total = s.rows + 2;
    const std::int64_t last = s.first + s.rows * s.step;
    const std::vector<std::int64_t> ends = {s.first + 2, s.first + s.rows / 2 + 2, last + 1};
    std::vector<std::vector<std::int32_t>> sets(s.layers);
    for (std::size_t layer = 0; layer < s.layers; ++layer) {
      for (std::int64_t row = 0; row < rows.total; ++row) {
        // Distinct, ascending, and different from layer to layer.
        const std::int64_t gap = (s.first + 1) / s.k;
        for (std::int64_t i = 0; i < s.k; ++i) {
          const auto shift = (static_cast<std::int64_t>(layer) * 7 + row * 3 + i) % gap;
          sets[layer].push_back(static_cast<std::int32_t>(i * gap + shift));
        }
      }
    }
    const auto count = [&](Backend& b) {
      std::vector<Tensor> tensors;
      for (const auto& set : sets) {
        tensors.push_back(b.upload(std::span<const std::int32_t>(set), rows.total, s.k));
      }
      return b.overlap_counts(rows, tensors, ends);
    };
    INFO(s.layers << " layers, k " << s.k << ", positions up to " << last);
    CHECK(count(gpu) == count(cpu));
  }
}
