// SPDX-License-Identifier: Apache-2.0
// Losses of the FP8 goldens with --precision fp8. transformers dequantized the weights and
// multiplied in float32, so that quantized activations are what is different. It is much for these
// random models, whose indexers choose other sets easily (docs/numerics.md has a trained one).
#pragma once

#include "search/golden_case.h"

namespace indexcache::test {

// `arguments` are those of Engine's constructor. `bound` is in nats per token, of a loss near
// ln 320 = 5.8 or ln 96 = 4.6.
template <typename Engine, typename... Arguments>
void check_fp8_golden_losses(double bound, Arguments... arguments) {
  for (const char* name :
       {"deepseek_v32_fp8_tiny", "glm_moe_dsa_fp8_tiny", "deepseek_v4_fp_tiny"}) {
    const std::filesystem::path folder = golden(name);
    const Json about = parse_json(read_file(folder / "golden_full.json"), name);
    const TokenSet tokens = tokens_of(SafetensorsFile(folder / "golden_full.safetensors"));
    Session<Engine> session(folder, about.value("mla_norm_eps", kLatentEpsilon),
                            Placement::resident, arguments...);
    const Pattern pattern = pattern_of(about["indexer_types"]);
    SweepEvaluator evaluator = session.evaluator(tokens);
    const double loss = evaluator.mean(evaluator.losses(std::span(&pattern, 1)).front());
    INFO(name << ": " << loss << " with FP8 products");
    CHECK(loss != about["loss"].get<double>());
    CHECK(loss == Approx(about["loss"].get<double>()).margin(bound));
  }
}

}  // namespace indexcache::test
