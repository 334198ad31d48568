// SPDX-License-Identifier: Apache-2.0
// Decode of every family, fed the rows and caches of a prefill, layer by layer.
#include "support/decode_model.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A sequence that selects nothing, and ends of pages.
const std::vector<std::int64_t> kDecoded = {70, 12, 130, 66};

}  // namespace

TEST_CASE("decode selects and attends as prefill does, in every family") {
  for (const char* folder : {"deepseek_v32_tiny", "deepseek_v32_fp8_tiny", "glm_moe_dsa_tiny",
                             "glm_moe_dsa_shared_tiny", "axk2_tiny", "hy_v4_tiny"}) {
    INFO(folder);
    Session<> session(golden(folder));
    DecodedModel<CpuBackend> model(session, kDecoded, {false, 1e-5});
    model.run(session.model.has_indexer);
    CHECK(model.moved() <= 2);
  }
}

TEST_CASE("decode selects and attends as prefill does with FP8 products") {
  for (const char* folder : {"deepseek_v32_fp8_tiny", "glm_moe_dsa_fp8_tiny"}) {
    INFO(folder);
    Session<CpuBackend> session(golden(folder), std::nullopt, Placement::resident, 2,
                                Precision::fp8);
    DecodedModel<CpuBackend> model(session, kDecoded, {false, 1e-5});
    model.run(session.model.has_indexer);
    CHECK(model.moved() <= 2);
  }
}
