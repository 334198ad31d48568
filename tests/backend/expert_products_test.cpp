// SPDX-License-Identifier: Apache-2.0
// Which kernel multiplies a GPU's experts, and what that takes: no GPU is needed to know it.
#include "backend/expert_products.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"

using namespace indexcache;

namespace {

class Bf16Gpu : public CpuBackend {
 public:
  Bf16Gpu() : CpuBackend(1) {}
  DType activation() const override { return DType::bf16; }
};

ModelShape shape_of(const ExpertSizes& sizes) {
  ModelShape shape{};
  shape.routed_experts = sizes.experts;
  shape.hidden = sizes.hidden;
  shape.moe_intermediate = sizes.middle;
  shape.experts_used = 8;
  return shape;
}

}  // namespace

TEST_CASE("experts of a GPU are multiplied by the kernel for their size") {
  const auto on_hopper = [](const ExpertSizes& sizes) {
    return products_of_experts(sizes, DType::bf16, true);
  };
  const ExpertSizes released{256, 7168, 2048};
  CHECK(on_hopper(released) == ExpertProducts::groups);
  CHECK(products_of_experts(released, DType::bf16, false) == ExpertProducts::single);
  CHECK(products_of_experts(released, DType::f32, true) == ExpertProducts::single);
  CHECK(on_hopper({256, 512, 256}) == ExpertProducts::small);
  CHECK(on_hopper({256, 512, 264}) == ExpertProducts::groups);
  CHECK(on_hopper({257, 512, 256}) == ExpertProducts::groups);  // too many for one launch
  CHECK(on_hopper({8, 36, 20}) == ExpertProducts::single);      // no copies of 16 bytes
  CHECK(products_of_experts({8, 36, 20}, DType::f32, true) == ExpertProducts::small);
  CHECK(products_of_experts({8, 44, 13}, DType::f32, true) == ExpertProducts::single);
}

TEST_CASE("only products of groups reuse the memory of an expert's rows") {
  const Bf16Gpu gpu;
  const ModelShape large = shape_of({256, 7168, 2048}), tiny = shape_of({4, 32, 16});
  CHECK(gpu_expert_row_bytes(gpu, large, true) == grouped_expert_row_bytes(large, false));
  CHECK(gpu_expert_row_bytes(gpu, large, false) == gpu.expert_row_bytes(large));
  CHECK(gpu_expert_row_bytes(gpu, tiny, true) == gpu.expert_row_bytes(tiny));
  CHECK(grouped_expert_row_bytes(tiny, false) < gpu.expert_row_bytes(tiny));
}
