// SPDX-License-Identifier: Apache-2.0
// Time by component on a GPU: the parts are all of the time that the device itself measures.
#include "cuda/gpu.h"

#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("cuda: parts of a profile add up to the time of the device", "[clock]") {
  Gpu gpu(Precision::bf16, Precision::fp8);
  CudaBackend& b = gpu.backend;
  constexpr std::int64_t kRows = 2048, kWidth = 128, kHeads = 32, kKeep = 1024;
  RowLayout rows, keys;
  rows.append(kRows, kKeep);
  keys.append(kRows + kKeep, 0);
  const auto random = [&](std::int64_t r, std::int64_t c, DType dtype) {
    const Tensor tensor = b.allocate(r, c, dtype);
    b.fill_random(tensor, 1.0f, 0.0f, 7);
    return tensor;
  };
  const Tensor queries = random(kRows, kHeads * kWidth, DType::bf16);
  const Tensor weights = random(kRows, kHeads, DType::f32);
  const Tensor key_rows = random(keys.total, kWidth, DType::bf16);
  const Tensor matrix = random(kWidth, kWidth, DType::bf16);
  const Tensor sets = b.allocate(kRows, kKeep, DType::i32);
  const Tensor out = b.allocate(keys.total, kWidth, DType::bf16);
  ComponentSeconds seconds{};
  const auto body = [&] {
    b.start_profile();
    for (int i = 0; i < 50; ++i) {
      b.index_topk(rows, queries, weights, keys, key_rows, sets);
      b.linear(keys, key_rows, matrix, out, Store::assign);
      {
        const Device::CountAs purpose(b, Component::index_key_writes);
        b.copy_rows(keys, key_rows, keys, out);
      }
    }
    seconds = b.take_profile().seconds;
  };
  b.measure(body);
  const double whole = b.measure(body);
  for (const Component counted : {Component::indexer_logits, Component::top_k,
                                  Component::projections, Component::index_key_writes}) {
    INFO(kComponentNames[static_cast<std::size_t>(counted)]);
    CHECK(seconds[static_cast<std::size_t>(counted)] > 0);
  }
  CHECK(seconds[static_cast<std::size_t>(Component::key_writes)] == 0);
  const double parts = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  CHECK(parts <= whole * 1.001);
  CHECK(parts >= whole * 0.97);
}
