// SPDX-License-Identifier: Apache-2.0
// What the decoder adds to the backend's comparison of next tokens: the final norm.
#include "model/decoder.h"

#include "backend/cpu/cpu_backend.h"
#include "model/synthetic_weights.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/random.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("the decoder compares what its loss is computed of") {
  const ModelConfig config = read_config(golden("deepseek_v32_tiny"));
  CpuBackend backend;
  const SyntheticWeights weights(config, backend, true);
  Decoder decoder(config, backend, 128);
  RowLayout rows;
  rows.append(70, 0);
  rows.append(5, 0);
  const auto random_rows = [&](std::uint32_t seed) {
    const auto size = static_cast<std::size_t>(rows.total * config.hidden);
    return backend.upload(random_floats(size, seed), rows.total, config.hidden);
  };
  const std::vector<Tensor> hidden = {random_rows(1), random_rows(2)};
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(rows.total), 3);
  const Tensor targets = backend.upload(std::span<const std::int32_t>(tokens), rows.total, 1);

  const auto results = decoder.compare(weights, rows, hidden[0], hidden, targets);
  REQUIRE(results.size() == 2);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::vector<double> sums = decoder.loss(weights, rows, hidden[i], targets);
    double sum = 0;
    for (std::size_t r = 0; r < 70; ++r) sum += results[i].loss[r];
    CHECK(sum == sums[0]);
  }
  CHECK(std::ranges::max(results[0].kl) == 0);
  CHECK(std::ranges::min(results[0].same_top) == 1);
  CHECK(std::ranges::min(results[1].kl) > 0);
  CHECK(Decoder::compare_row_bytes(config, backend, 2) == 3 * 4 * config.hidden + 2 * 17);
}
