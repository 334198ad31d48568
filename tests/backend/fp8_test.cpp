// SPDX-License-Identifier: Apache-2.0
// FP8 products of the reference backend against loops in double precision.
#include "support/fp8.h"

#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

RowLayout uneven_segments() {
  RowLayout rows;
  for (std::int64_t count : {3, 0, 131, 1}) rows.append(count, 0);
  return rows;
}

CpuBackend fp8_backend(int threads = 0) {
  return CpuBackend(threads, Precision::fp8);
}

// Rows whose groups differ in size by many orders.
std::vector<float> uneven_numbers(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  auto values = random_floats(static_cast<std::size_t>(rows * cols), seed);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::ldexp(1.0f, static_cast<int>(i / 64 % 11) - 5);
  }
  return values;
}

// What becomes of one row, by a product with the identity matrix.
std::vector<float> quantized_row(const std::vector<float>& x) {
  const auto width = static_cast<std::int64_t>(x.size());
  Fp8Matrix identity(width, width, 1);
  std::ranges::fill(identity.codes, std::uint8_t{0});
  std::ranges::fill(identity.scales, 1.0f);
  for (std::int64_t i = 0; i < width; ++i) {
    identity.codes[static_cast<std::size_t>(i * width + i)] = 0x38;  // 1.0
  }
  CpuBackend backend = fp8_backend();
  RowLayout rows;
  rows.append(1, 0);
  const Tensor out = backend.allocate(1, width);
  backend.linear(rows, backend.upload(x, 1, width), identity.put(backend), out, Store::assign);
  return backend.download(out);
}

}  // namespace

TEST_CASE("an FP8 matrix is downloaded as its numbers times their scales") {
  CpuBackend backend = fp8_backend();
  const Fp8Matrix matrix(144, 272, 3);
  std::vector<float> expected;
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    for (std::int64_t c = 0; c < matrix.cols; ++c) {
      expected.push_back(static_cast<float>(matrix.number(r, c)) * matrix.scale(r, c / 128));
    }
  }
  const Tensor put = matrix.put(backend);
  CHECK(backend.download(put) == expected);
  // Rows of whole blocks keep their scales; other views are numbers only.
  CHECK(backend.download(put.row_range(128, 16)) ==
        std::vector<float>(expected.begin() + 128 * 272, expected.end()));
  CHECK(put.columns(0, 16).scales().empty());
}

TEST_CASE("FP8 that stays has the same numbers with scales of a byte and of float32") {
  CpuBackend backend = fp8_backend();
  Fp8Matrix matrix(144, 272, 4);
  matrix.round_scales();
  const auto bytes = backend.download(matrix.put(backend));
  matrix.byte_scales = false;
  CHECK(bytes == backend.download(matrix.put(backend)));
}

TEST_CASE("FP8 products equal an emulation, assigned and accumulated") {
  const RowLayout rows = uneven_segments();
  for (const auto& [out, in] : {std::pair{16, 16}, {144, 160}, {256, 128}, {272, 400}}) {
    INFO(in << " -> " << out);
    const Fp8Matrix weight(out, in, 5);
    const auto x = uneven_numbers(rows.total, in, 6);
    const auto residual = random_floats(static_cast<std::size_t>(rows.total * out), 7);
    std::vector<float> product, sum;
    for (std::int64_t r = 0; r < rows.total; ++r) {
      for (const double value : fp8_product(x.data() + r * in, weight)) {
        sum.push_back(static_cast<float>(value + residual[product.size()]));
        product.push_back(static_cast<float>(value));
      }
    }
    CpuBackend backend = fp8_backend();
    const Tensor tx = backend.upload(x, rows.total, in), tw = weight.put(backend);
    const Tensor assigned = backend.upload(residual, rows.total, out);
    const Tensor added = backend.upload(residual, rows.total, out);
    backend.linear(rows, tx, tw, assigned, Store::assign);
    backend.linear(rows, tx, tw, added, Store::accumulate);
    CHECK_CLOSE(backend.download(assigned), product, 1e-6);
    CHECK_CLOSE(backend.download(added), sum, 1e-6);
  }
}

TEST_CASE("FP8 gated MLP and experts equal an emulation") {
  CpuBackend backend = fp8_backend();
  const RowLayout rows = uneven_segments();
  const std::int64_t hidden = 272, width = 128;
  const auto x = uneven_numbers(rows.total, hidden, 8);
  std::vector<Fp8Matrix> gate_up, down;
  ExpertWeights weights;
  for (std::uint32_t e = 0; e < 3; ++e) {
    gate_up.emplace_back(2 * width, hidden, 10 + e);
    down.emplace_back(hidden, width, 20 + e);
    weights.gate_up.push_back(gate_up.back().put(backend));
    weights.down.push_back(down.back().put(backend));
  }
  std::vector<std::int32_t> chosen;
  std::vector<float> shares;
  for (std::int32_t r = 0; r < rows.total; ++r) {
    chosen.insert(chosen.end(), {r % 2, 2});
    shares.insert(shares.end(), {0.25f, 1.5f});
  }
  const Routing routing{backend.upload(std::span<const std::int32_t>(chosen), rows.total, 2),
                        backend.upload(shares, rows.total, 2)};
  const Tensor tx = backend.upload(x, rows.total, hidden);
  const Tensor dense = backend.upload(x, rows.total, hidden);
  const Tensor routed = backend.upload(x, rows.total, hidden);
  backend.gated_mlp(rows, tx, weights.gate_up[1], weights.down[1], dense);
  backend.experts(rows, tx, routing, weights, routed);
  std::vector<float> expected_dense = x, expected_routed = x;
  for (std::int64_t r = 0; r < rows.total; ++r) {
    std::vector<std::vector<double>> results;
    for (std::size_t e = 0; e < 3; ++e) {
      results.push_back(fp8_mlp(x.data() + r * hidden, gate_up[e], down[e]));
    }
    for (std::int64_t i = 0; i < hidden; ++i) {
      const auto at = static_cast<std::size_t>(r * hidden + i), c = static_cast<std::size_t>(i);
      expected_dense[at] = static_cast<float>(x[at] + results[1][c]);
      const auto first = static_cast<std::size_t>(r % 2);
      expected_routed[at] =
          static_cast<float>(x[at] + 0.25 * results[first][c] + 1.5 * results[2][c]);
    }
  }
  // A number between the products may round to the other neighbor than that of the emulation.
  CHECK_CLOSE(backend.download(dense), expected_dense, 1e-3);
  CHECK_CLOSE(backend.download(routed), expected_routed, 1e-3);
}

TEST_CASE("groups of activations are quantized by their largest number, whatever it is") {
  const auto check = [](const std::vector<float>& x) {
    std::vector<float> expected;
    for (std::size_t first = 0; first < x.size(); first += 128) {
      const auto count = static_cast<std::int64_t>(std::min<std::size_t>(128, x.size() - first));
      const QuantizedGroup group = quantized_group(x.data() + first, count);
      for (const double number : group.numbers) {
        expected.push_back(static_cast<float>(number) * group.scale);
      }
    }
    CHECK(quantized_row(x) == expected);
  };
  check(std::vector<float>(256, 0.0f));
  check(std::vector<float>(144, 1e-12f));  // below the least peak: less than a step of E4M3
  check(std::vector<float>(144, 1e-10f));
  check(std::vector<float>(16, 1e-40f));  // denormal
  check(std::vector<float>(144, std::numeric_limits<float>::max()));
  std::vector<float> ties(272);  // a short last group; halfway between neighbors
  for (std::size_t i = 0; i < ties.size(); ++i) {
    ties[i] = (i % 2 == 0 ? 1.0f : -1.0f) * (static_cast<float>(i % 97) * 0.0625f);
  }
  ties[5] = ties[200] = ties[260] = 448;
  check(ties);
  check(uneven_numbers(1, 400, 9));
}

TEST_CASE("what is not finite stays visible after FP8 products") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(144, 1.0f);
    x[3] = bad;
    for (const float value : quantized_row(x)) CHECK(std::isnan(value));
  }
}

TEST_CASE(
    "a row of an FP8 product has the same bits alone, in a batch and on any number of threads") {
  const RowLayout rows = uneven_segments();
  const std::int64_t in = 272, out = 144;
  const Fp8Matrix weight(out, in, 11);
  const auto x = uneven_numbers(rows.total, in, 12);
  const auto run = [&](int threads, std::int64_t first, std::int64_t count) {
    CpuBackend backend = fp8_backend(threads);
    RowLayout layout;
    if (count == rows.total) layout = rows;
    if (count != rows.total) layout.append(count, 0);
    const std::vector<float> part(x.begin() + first * in, x.begin() + (first + count) * in);
    const Tensor result = backend.allocate(count, out);
    backend.linear(layout, backend.upload(part, count, in), weight.put(backend), result,
                   Store::assign);
    return backend.download(result);
  };
  const auto whole = run(1, 0, rows.total);
  CHECK(run(5, 0, rows.total) == whole);
  for (std::int64_t r = 0; r < rows.total; ++r) {
    CHECK(run(1, r, 1) ==
          std::vector<float>(whole.begin() + r * out, whole.begin() + (r + 1) * out));
  }
}

TEST_CASE("uploaders report NaN codes and scales of FP8 that stays, and copy everything else") {
  CpuBackend backend = fp8_backend();
  const auto finite = [&](const Fp8Matrix& matrix) {
    bool is_finite = false;
    matrix.put(backend, &is_finite);
    return is_finite;
  };
  Fp8Matrix good(16, 32, 13);
  good.codes[7] = 0x7e, good.codes[8] = 0xfe;  // 448 and -448
  CHECK(finite(good));
  for (const std::uint8_t nan : {0x7f, 0xff}) {
    Fp8Matrix bad = good;
    bad.codes.back() = nan;
    CHECK_FALSE(finite(bad));
  }
  Fp8Matrix bad = good;
  bad.scales[0] = std::numeric_limits<float>::infinity();
  CHECK_FALSE(finite(bad));
}
