// SPDX-License-Identifier: Apache-2.0
// Whatever is different in A.X-K2 and Hy4 shows in their goldens.
#include "search/family_parts.h"

#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("a mistake in any part of Hy4 would show in its goldens") {
  check_parts<CpuBackend>(
      "hy_v4_tiny",
      {{"interleaved rotation of MLA", [](auto& c) { c.mla_rope = RopeLayout::interleaved; }},
       {"interleaved rotation of the indexer",
        [](auto& c) { c.index_rope = RopeLayout::interleaved; }},
       {"rotation of the indexer's first components", [](auto& c) { c.index_rope_last = false; }},
       {"epsilon of the indexer's LayerNorm", [](auto& c) { c.index_norm_eps = 1e-6f; }},
       {"no clamp", [](auto& c) { c.expert_limit = kNoLimit; }},
       {"no output gate", [](auto& c) { c.output_gate = OutputGate::none; }},
       {"no sinks", nullptr, [](auto& w) { w.sinks = {}; }},
       {"factors without their scale", [](auto& c) { c.streams->factor_scale = 1; }},
       {"epsilon of the coefficients", [](auto& c) { c.streams->eps = 1e-3f; }},
       {"mixture of attention for the MLP", nullptr,
        [](auto& w) { w.mlp_input.streams = w.attention_input.streams; }},
       {"norm of the streams", [](auto& c) { c.streams->norm_eps = 1e-6f; }}});
}

TEST_CASE("a mistake in any part of A.X-K2 would show in its goldens") {
  check_parts<CpuBackend>("axk2_tiny", {{"no gate on the norm before attention", nullptr,
                                         [](auto& w) { w.attention_input.gate.reset(); }},
                                        {"no gate on the norm before the MLP", nullptr,
                                         [](auto& w) { w.mlp_input.gate.reset(); }},
                                        {"gates of the other norm", nullptr,
                                         [](auto& w) {
                                           if (w.mlp_input.gate)
                                             std::swap(w.mlp_input.gate, w.attention_input.gate);
                                         }},
                                        {"interleaved rotation of the indexer",
                                         [](auto& c) { c.index_rope = RopeLayout::interleaved; }}});
}
