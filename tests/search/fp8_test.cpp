// SPDX-License-Identifier: Apache-2.0
// A model that is multiplied in FP8 as deployed: near its dequantized self, and with every law of
// other precisions.
#include "search/fp8_golden.h"
#include "support/compare.h"
#include "support/fp8_model.h"
#include "support/residuals.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

TokenSet random_ids(std::vector<std::int64_t> lengths) {
  TokenSet tokens{"random ids", {}};
  std::mt19937 engine(3);
  for (const std::int64_t length : lengths) {
    std::vector<std::int32_t>& ids = tokens.sequences.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) {
      ids.push_back(static_cast<std::int32_t>(engine() % 320));
    }
  }
  return tokens;
}

std::vector<Pattern> some_patterns() {
  return {Pattern::parse("FFFF"), Pattern::parse("FSFS"), Pattern::parse("FSSS")};
}

using Fp8Session = Session<CpuBackend>;

Fp8Session fp8_session(const Fp8Model& files, Placement placement = Placement::resident,
                       int threads = 2) {
  return Fp8Session(files.folder.path(), std::nullopt, placement, threads, Precision::fp8);
}

}  // namespace

TEST_CASE("the residual in FP8 stays near that of the dequantized model, layer by layer") {
  const Fp8Model files({.index_topk = 200});  // all: random indexers choose other sets easily
  const TokenSet tokens = random_ids({150, 90, 140});
  const Pattern full = Pattern::parse("FFFF");
  const auto measure = [&](Session<>& session, Residuals& residuals) {
    SweepEvaluator evaluator = session.evaluator(tokens);
    const auto losses =
        evaluator.losses(LossRequest{std::span(&full, 1), evaluator.all_sequences()}, &residuals);
    return evaluator.mean(losses.front());
  };
  Fp8Session fp8 = fp8_session(files);
  Session<> f32(files.folder.path());
  Residuals quantized(fp8.backend), exact(f32.backend);
  const double loss = measure(fp8, quantized), exact_loss = measure(f32, exact);
  // Activations keep four bits: about 3% per product. Some rows choose other experts. A model that
  // has nothing to do with this one is 1.4 away.
  const double bounds[] = {0.1, 0.3, 0.4, 0.5};
  for (std::size_t layer = 0; layer < 4; ++layer) {
    INFO("layer " << layer);
    const double far = distance(quantized.of_layer.at(layer), exact.of_layer.at(layer));
    CHECK(far < bounds[layer]);
    CHECK(far > 0.005);
  }
  CHECK(loss == Approx(exact_loss).margin(0.1));
}

TEST_CASE("FP8 losses of the golden cases stay near those of transformers") {
  check_fp8_golden_losses<CpuBackend>(0.1, 2, Precision::fp8);
}

TEST_CASE("FP8 losses do not depend on batch, waves, threads or where weights wait") {
  const Fp8Model files;
  const TokenSet tokens = random_ids({150, 17, 140, 1 + 16, 90});
  const auto patterns = some_patterns();
  Fp8Session session = fp8_session(files);
  const auto expected = session.evaluator(tokens).losses(patterns);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    CHECK(session.evaluator(tokens).losses(std::span(&patterns[p], 1)).front() == expected[p]);
  }
  CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == expected);
  for (const Placement placement : {Placement::stream, Placement::disk}) {
    Fp8Session moving = fp8_session(files, placement);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
    CHECK(moving.evaluator(tokens).losses(patterns) == expected);
  }
  for (const int threads : {1, 5}) {
    CHECK(fp8_session(files, Placement::resident, threads).evaluator(tokens).losses(patterns) ==
          expected);
  }
}

TEST_CASE("a model without matrices that stay in FP8 has the losses of fp32") {
  const Fp8Model files({.fp8 = false});
  const TokenSet tokens = random_ids({90});
  const auto patterns = some_patterns();
  Session<> f32(files.folder.path());
  CHECK(fp8_session(files).evaluator(tokens).losses(patterns) ==
        f32.evaluator(tokens).losses(patterns));
}
