// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves: the GPU against the CPU backend.
#include "cuda/gpu.h"
#include "kernels/convert.h"

#include <bit>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr Precision kPrecisions[] = {Precision::fp32, Precision::bf16};

}  // namespace

TEST_CASE("GPU linear assigns and accumulates, of views too") {
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

TEST_CASE("GPU products give a row the same bits in any batch", "[products]") {
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

TEST_CASE("GPU products of heads read and write their strides") {
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

TEST_CASE("GPU norms, also of some columns and in place") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const std::int64_t width : {1, 35, 576, 1100, 7168}) {
      INFO(name_of(precision) << " width " << width);
      const RowLayout rows = ragged_rows();
      const auto x = gpu.random(rows.total, width + 5, 9);
      const auto weight = random_floats(static_cast<std::size_t>(width), 10);
      const auto bias = random_floats(static_cast<std::size_t>(width), 11);
      compare_backends(gpu, gpu.tolerance(2e-6), [&](Backend& b, auto put, auto) {
        const Tensor y = put(x, rows.total, width + 5);
        const Tensor view = y.columns(5, width);
        b.rms_norm(rows, view, b.upload(weight, 1, width), 1e-3f, view);
        return y;
      });
      compare_backends(gpu, gpu.tolerance(2e-6), [&](Backend& b, auto put, auto poison) {
        const Tensor y = poison(rows.total, width);
        b.layer_norm(rows, put(x, rows.total, width + 5).columns(3, width),
                     b.upload(weight, 1, width), b.upload(bias, 1, width), 1e-1f, y);
        return y;
      });
    }
  }
}

TEST_CASE("GPU RoPE turns pairs of either layout by the row's position") {
  for (const Precision precision : kPrecisions) {
    for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
      Gpu gpu(precision);
      const RowLayout rows = ragged_rows(3);
      const std::int64_t heads = 3, width = 10, stride = 16;
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

TEST_CASE("GPU next-token loss sums each segment and skips rows without a target", "[products]") {
  for (const Precision precision : kPrecisions) {
    Gpu gpu(precision);
    for (const std::int64_t vocabulary : {2, 33, 4097}) {
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
