// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves: the GPU against the CPU backend.
#include "cuda/gpu.h"
#include "kernels/convert.h"

#include <bit>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr Precision kPrecisions[] = {Precision::fp32, Precision::bf16};

// Random multiples of 1/64 in [-1, 1], which every type represents exactly.
std::vector<float> random_steps(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  auto values = random_floats(count_of(rows, cols), seed);
  for (float& value : values) value = std::round(64 * value) / 64;
  return values;
}

// Inputs of a comparison: rows of a reference, others close to it and far from it. Their logits are
// exact in float32, so that the most likely tokens are the same on every backend.
struct ComparedRows {
  explicit ComparedRows(std::int64_t tokens)
      : vocabulary(tokens), head(random_steps(vocabulary, hidden, 20)) {
    xs = {random_steps(rows.total, hidden, 21), random_steps(rows.total, hidden, 21),
          random_steps(rows.total, hidden, 22)};
    for (std::size_t i = 0; i < xs[1].size(); i += 9) xs[1][i] *= 0.5f;
    for (std::size_t i = 0; i < hidden; ++i) xs[0][i] *= 256, xs[2][hidden + i] *= 256;  // peaks
    for (std::int64_t r = 0; r < rows.total; ++r) {
      targets.push_back(static_cast<std::int32_t>(r % 5 == 4 ? -1 : r % vocabulary));
    }
  }

  std::vector<Tensor> tensors(Backend& b) const {
    std::vector<Tensor> uploaded;
    for (const auto& x : xs) uploaded.push_back(b.upload_matrix(x, rows.total, hidden));
    return uploaded;
  }
  Tensor head_tensor(Backend& b) const { return b.upload_matrix(head, vocabulary, hidden); }
  Tensor target_tensor(Backend& b) const {
    return b.upload(std::span<const std::int32_t>(targets), rows.total, 1);
  }
  std::vector<TokenComparison> compare(Backend& b) const {
    const auto all = tensors(b);
    return b.compare_next_tokens(rows, all[0], all, head_tensor(b), target_tensor(b));
  }
  // Rows [first, first + count) as a layout of their own.
  std::vector<TokenComparison> compare(Backend& b, std::int64_t first, std::int64_t count) const {
    auto some = tensors(b);
    for (Tensor& x : some) x = x.row_range(first, count);
    RowLayout part;
    part.append(count, 0);
    return b.compare_next_tokens(part, some[0], some, head_tensor(b),
                                 target_tensor(b).row_range(first, count));
  }

  RowLayout rows = ragged_rows();
  static constexpr std::int64_t hidden = 16;
  std::int64_t vocabulary;
  std::vector<float> head;
  std::vector<std::vector<float>> xs;  // the first is the reference
  std::vector<std::int32_t> targets;
};

template <typename T>
std::vector<T> cut(const std::vector<T>& values, std::int64_t first, std::int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("GPU linear assigns and accumulates, of views too", "[cublas]") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const auto& [in, out] : {std::pair{37, 21}, {8, 1}, {256, 128}, {1024, 513}, {64, 4096}}) {
      INFO(name_of(precision) << " " << in << " -> " << out);
      const RowLayout rows = ragged_rows();
      const auto x = gpu.random(rows.total, in + 8, 1);
      const auto w = gpu.random(out, in, 2);
      const auto residual = random_floats(count_of(rows.total, out), 3);
      compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto poison) {
        const Tensor view = put(x, rows.total, in + 8).columns(8, in);
        const Tensor y = poison(rows.total, out);
        b.linear(rows, view, put(w, out, in), y, Store::assign);
        return y;
      });
      compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto) {
        const Tensor y = b.upload(residual, rows.total, out);  // float32, as the residual is
        const Tensor view = put(x, rows.total, in + 8).columns(0, in);
        b.linear(rows, view, put(w, out, in), y, Store::accumulate);
        return y;
      });
    }
  }
}

TEST_CASE("GPU products give a row the same bits in any batch", "[cublas]") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    Backend& b = gpu.backend;
    for (const auto& [in, out] : {std::pair{256, 128},
                                  {128, 256},
                                  {256, 4096},
                                  {48, 256},
                                  {96, 64},
                                  {2048, 768},
                                  {1536, 4096},
                                  {1024, 1024},
                                  {2048, 3072}}) {
      const std::int64_t rows = 3000;
      const auto x = gpu.random(rows, in, 4);
      const Tensor tx = b.upload_matrix(x, rows, in);
      const Tensor tw = b.upload_matrix(gpu.random(out, in, 5), out, in);
      RowLayout all;
      all.append(rows, 0);
      const Tensor whole = gpu.poisoned(rows, out);
      b.linear(all, tx, tw, whole, Store::assign);
      for (const auto& [first, count] : {std::pair{0, 1}, {7, 130}, {1000, 2000}, {2999, 1}}) {
        INFO(name_of(precision) << " " << in << " -> " << out << ", rows " << first << "+"
                                << count);
        RowLayout part;
        part.append(count, 0);
        const Tensor some = gpu.poisoned(count, out);
        b.linear(part, tx.row_range(first, count), tw, some, Store::assign);
        CHECK(b.download(some) == b.download(whole.row_range(first, count)));
      }
    }
  }
}

TEST_CASE("GPU products of heads read and write their strides", "[cublas]") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    const RowLayout rows = ragged_rows();
    const std::int64_t heads = 5, in = 24, out = 40;
    const auto x = gpu.random(rows.total, heads * 32, 6);
    const auto w = gpu.random(heads * out, in, 7);
    const auto before = gpu.random(rows.total, heads * 48, 8);
    compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto) {
      const Tensor y = put(before, rows.total, heads * 48);
      b.head_linear(rows, {put(x, rows.total, heads * 32), heads, 32, in}, put(w, heads * out, in),
                    {y, heads, 48, out});
      return y;
    });
  }
}

// Columns that begin at whole sixteens of bytes, which are read eight at a time, and others.
TEST_CASE("GPU norms, also of some columns and in place") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const std::int64_t width : {1, 35, 136, 576, 1024, 1032, 1100, 7168, 8200}) {
      for (const std::int64_t before : {3, 8}) {
        INFO(name_of(precision) << " width " << width << " after " << before);
        const RowLayout rows = ragged_rows();
        const auto x = gpu.random(rows.total, width + before, 9);
        const auto weight = random_floats(static_cast<std::size_t>(width), 10);
        const auto bias = random_floats(static_cast<std::size_t>(width), 11);
        compare_backends(gpu, gpu.tolerance(2e-6), [&](Backend& b, auto put, auto) {
          const Tensor y = put(x, rows.total, width + before);
          const Tensor view = y.columns(before, width);
          b.rms_norm(rows, view, b.upload(weight, 1, width), 1e-3f, view);
          return y;
        });
        compare_backends(gpu, gpu.tolerance(2e-6), [&](Backend& b, auto put, auto poison) {
          const Tensor y = poison(rows.total, width);
          b.layer_norm(rows, put(x, rows.total, width + before).columns(before, width),
                       b.upload(weight, 1, width), b.upload(bias, 1, width), 1e-1f, y);
          return y;
        });
      }
    }
  }
}

TEST_CASE("GPU RoPE turns pairs of either layout by the row's position") {
  for (const Precision precision : kPrecisions) {
    for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
      Gpu gpu(precision);
      const RowLayout rows = ragged_rows(3);
      for (const auto& [width, stride] : {std::pair{10, 16}, {16, 16}, {64, 72}, {64, 65}}) {
        INFO(name_of(precision) << " width " << width << " of " << stride);
        const std::int64_t heads = 3;
        const auto x = gpu.random(rows.total, heads * stride, 12);
        const auto cosines = random_floats(count_of(300, width / 2), 13);
        const auto sines = random_floats(count_of(300, width / 2), 14);
        compare_backends(gpu, gpu.tolerance(1e-6), [&](Backend& b, auto put, auto) {
          const Tensor y = put(x, rows.total, heads * stride);
          const Heads in_place{y, heads, stride, width};
          b.rope(rows, in_place, b.upload(cosines, 300, width / 2), b.upload(sines, 300, width / 2),
                 layout, in_place);
          return y;
        });
      }
    }
  }
}

TEST_CASE("GPU lookups and copies are exact") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    RowLayout from, to;
    for (const auto& [rows, position, all] : {std::tuple{5, 3, 9}, {0, 0, 4}, {70, 0, 71}}) {
      from.append(rows, position);
      to.append(all, 0);
    }
    const auto table = gpu.random(50, 33, 15);
    std::vector<std::int32_t> tokens;
    for (std::int64_t r = 0; r < from.total; ++r) {
      tokens.push_back(static_cast<std::int32_t>(r * 7 % 50));
    }
    const auto before = random_floats(count_of(to.total, 40), 16);
    compare_backends(gpu, 0.0, [&](Backend& b, auto put, auto) {
      const Tensor rows =
          b.upload(std::vector<float>(count_of(from.total, 33), kPoison), from.total, 33);
      b.embed(b.upload(std::span<const std::int32_t>(tokens), from.total, 1), put(table, 50, 33),
              rows);
      const Tensor out = b.upload(before, to.total, 40);
      b.copy_rows(from, rows, to, out.columns(4, 33));
      return out;
    });
  }
}

TEST_CASE("GPU lookups in a table of integers") {
  Gpu gpu(Precision::bf16);
  const std::vector<std::int32_t> table = {7, 0, -1, 255, 1 << 30, 3}, tokens = {1, 0, 2, 2};
  const auto looked_up = [&](Backend& b) {
    const Tensor out = b.allocate(4, 2, DType::i32);
    b.embed(b.upload(std::span<const std::int32_t>(tokens), 4, 1),
            b.upload(std::span<const std::int32_t>(table), 3, 2), out);
    return b.download_indices(out);
  };
  const std::vector<std::int32_t> expected = {-1, 255, 7, 0, 1 << 30, 3, 1 << 30, 3};
  CpuBackend cpu;
  CHECK(looked_up(cpu) == expected);
  CHECK(looked_up(gpu.backend) == expected);
}

TEST_CASE("GPU next-token loss sums each segment and skips rows without a target") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const std::int64_t vocabulary : {2, 8, 33, 1000, 4097}) {
      const RowLayout rows = ragged_rows();
      const std::int64_t hidden = 16;
      auto x = gpu.random(rows.total, hidden, 17);
      const auto head = gpu.random(vocabulary, hidden, 18);
      for (std::int64_t i = 0; i < hidden; ++i) x[static_cast<std::size_t>(i)] *= 256;  // peaks
      std::vector<std::int32_t> targets;
      for (std::int64_t r = 0; r < rows.total; ++r) {
        targets.push_back(static_cast<std::int32_t>(r % 5 == 4 ? -1 : r % vocabulary));
      }
      const auto loss = [&](Backend& b) {
        return b.next_token_loss(rows, b.upload_matrix(x, rows.total, hidden),
                                 b.upload_matrix(head, vocabulary, hidden),
                                 b.upload(std::span<const std::int32_t>(targets), rows.total, 1));
      };
      CpuBackend cpu;
      INFO(name_of(precision) << " vocabulary " << vocabulary);
      CHECK_CLOSE(loss(gpu.backend), loss(cpu), 1e-6);  // the inputs are exact in both types
    }
  }
}

TEST_CASE("GPU comparisons of next tokens agree with the CPU's") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const std::int64_t vocabulary : {2, 8, 33, 1000, 4097}) {
      const ComparedRows in(vocabulary);
      CpuBackend cpu;
      const auto actual = in.compare(gpu.backend), expected = in.compare(cpu);
      REQUIRE(actual.size() == expected.size());
      for (std::size_t i = 0; i < actual.size(); ++i) {
        INFO(name_of(precision) << " vocabulary " << vocabulary << " tensor " << i);
        CHECK_CLOSE(actual[i].loss, expected[i].loss, 1e-6);
        CHECK(largest_difference(actual[i].kl, expected[i].kl) <
              1e-6 * std::max(1.0, std::ranges::max(expected[i].kl)));
        CHECK(actual[i].same_top == expected[i].same_top);
      }
      CHECK(std::ranges::max(actual[0].kl) == 0);  // of the reference itself
    }
  }
}

TEST_CASE("GPU comparisons give a row the same bits in any batch, and the loss that is summed") {
  for (const auto& [precision, vocabulary] :
       {std::pair{Precision::fp32, 4097}, {Precision::bf16, 4097}, {Precision::bf16, 1000}}) {
    INFO(name_of(precision) << " vocabulary " << vocabulary);
    Gpu gpu(precision);
    const ComparedRows in(vocabulary);
    const auto whole = in.compare(gpu.backend);
    RowLayout single_rows;  // sums of one loss
    for (std::int64_t r = 0; r < in.rows.total; ++r) single_rows.append(1, 0);
    CHECK(gpu.backend.next_token_loss(single_rows, in.tensors(gpu.backend)[2],
                                      in.head_tensor(gpu.backend),
                                      in.target_tensor(gpu.backend)) == whole[2].loss);
    for (const auto& [first, count] : {std::pair{0, 1}, {7, 130}, {200, 262}, {461, 1}}) {
      INFO("rows " << first << "+" << count);
      const auto some = in.compare(gpu.backend, first, count);
      for (std::size_t i = 0; i < some.size(); ++i) {
        CHECK(some[i].loss == cut(whole[i].loss, first, count));
        CHECK(some[i].kl == cut(whole[i].kl, first, count));
        CHECK(some[i].same_top == cut(whole[i].same_top, first, count));
      }
    }
    gpu.backend.limit_memory(1 << 20);  // a few rows at a time
    CHECK(in.compare(gpu.backend) == whole);
  }
}
