// SPDX-License-Identifier: Apache-2.0
// Several GPU backends in one process, on two devices if there are two, and the shapes that a GPU
// backend accepts.
#include "calibration/calibration_file.h"
#include "core/error.h"
#include "cuda/gpu.h"
#include "support/files.h"
#include "support/session.h"

#include <thread>

using namespace indexcache;
using namespace indexcache::test;

namespace {

int second_device() {
  int count = 0;
  INDEXCACHE_CUDA(cudaGetDeviceCount(&count));
  return count > 1 ? 1 : 0;
}

CudaOptions options_for(int device, Precision precision) {
  return {precision, precision, device};
}

// The models that are released.
ModelShape released_shape() {
  return {.layers = 61,
          .vocabulary = 129280,
          .hidden = 7168,
          .heads = 128,
          .latent_width = 576,
          .kv_lora_rank = 512,
          .index_heads = 64,
          .index_head_dim = 128,
          .index_topk = 2048,
          .intermediate = 18432,
          .moe_intermediate = 2048,
          .routed_experts = 256,
          .experts_used = 8,
          .expert_groups = 8};
}

std::string refusal(const ModelShape& shape, Precision indexer = Precision::fp32) {
  const CudaBackend backend({Precision::fp32, indexer});
  try {
    backend.check(shape);
  } catch (const Error& error) {
    return error.describe();
  }
  return "";
}

}  // namespace

TEST_CASE("GPU backends on two devices take turns and agree on every bit", "[devices][cublas]") {
  const TokenSet tokens = cut(read_tokens(data("dsa-mini/calibration.h5")), 2, 400);
  const std::vector<Pattern> patterns = {Pattern::all_full(16), Pattern::parse("FSFSFSFSFSFSFSFS")};
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Placement placement : {Placement::resident, Placement::stream, Placement::disk}) {
      INFO(name_of(precision) << " " << name_of(placement));
      Session<CudaBackend> one(data("dsa-mini"), std::nullopt, placement,
                               options_for(0, precision));
      Session<CudaBackend> two(data("dsa-mini"), std::nullopt, placement,
                               options_for(second_device(), precision));
      SweepEvaluator first = one.evaluator(tokens), second = two.evaluator(tokens);
      const auto expected = first.losses(patterns);
      CHECK(second.losses(patterns) == expected);
      CHECK(first.losses(patterns) == expected);
      CHECK(second.losses(patterns) == expected);
      CHECK(one.backend.name() == two.backend.name());  // no index: runs continue on either
    }
  }
}

TEST_CASE("GPU backends on two threads compute at the same time", "[devices][threads]") {
  const TokenSet tokens = cut(read_tokens(data("dsa-mini/calibration.h5")), 2, 400);
  const std::vector<Pattern> patterns = {Pattern::all_full(16)};
  Session<CudaBackend> one(data("dsa-mini"), std::nullopt, Placement::stream,
                           options_for(0, Precision::fp32));
  Session<CudaBackend> two(data("dsa-mini"), std::nullopt, Placement::stream,
                           options_for(second_device(), Precision::fp32));
  const auto expected = one.evaluator(tokens).losses(patterns);
  std::vector<std::vector<double>> a, b;
  {
    const std::jthread left([&] { a = one.evaluator(tokens).losses(patterns); });
    const std::jthread right([&] { b = two.evaluator(tokens).losses(patterns); });
  }
  CHECK(a == expected);
  CHECK(b == expected);
}

TEST_CASE("GPU memory is that of its own device and goes back with its last tensor", "[devices]") {
  const std::vector<float> values = random_floats(5000, 91);
  CudaBackend other;
  Tensor survivor;
  {
    CudaBackend backend(options_for(second_device(), Precision::fp32));
    survivor = backend.upload(values, 50, 100);
    cudaPointerAttributes attributes{};
    INDEXCACHE_CUDA(cudaPointerGetAttributes(&attributes, survivor.data<void>()));
    CHECK(attributes.device == second_device());
    const std::int64_t before = other.memory_use().peak_total;
    backend.allocate(1000, 1000);
    CHECK(other.memory_use().peak_total == before);
    CHECK(backend.download(survivor) == values);
  }
  survivor = {};  // after its backend, while another one works
  const Tensor tensor = other.upload(values, 50, 100);
  CHECK(other.download(tensor) == values);
}

TEST_CASE("GPU an index out of range is refused with the devices that exist") {
  try {
    make_cuda_backend({Precision::fp32, Precision::fp32, 4095});
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("--device cuda:4095") && Contains("visible, cuda:0"));
  }
}

TEST_CASE("GPU shapes beyond the kernels' limits are refused by the key of config.json") {
  const ModelShape good = released_shape();
  for (const Precision indexer : {Precision::fp32, Precision::bf16, Precision::fp8}) {
    CHECK(refusal(good, indexer).empty());
  }
  const auto refused = [&](std::int64_t ModelShape::*key, std::int64_t value,
                           const std::string& name) {
    ModelShape shape = good;
    shape.*key = value;
    CHECK_THAT(refusal(shape),
               Contains(name) && Contains(std::to_string(value)) && Contains("try: --device cpu"));
  };
  refused(&ModelShape::latent_width, 580, "kv_lora_rank + qk_rope_head_dim");
  refused(&ModelShape::latent_width, 574, "kv_lora_rank + qk_rope_head_dim");
  refused(&ModelShape::kv_lora_rank, 513, "kv_lora_rank");
  refused(&ModelShape::index_head_dim, 126, "index_head_dim");
  refused(&ModelShape::routed_experts, 1025, "n_routed_experts");
  refused(&ModelShape::experts_used, 33, "num_experts_per_tok");
  refused(&ModelShape::expert_groups, 33, "n_group");
  refused(&ModelShape::layers, 129, "num_hidden_layers");
}

TEST_CASE("GPU keys of a window that are too wide are refused by their key of config.json") {
  ModelShape shape = released_shape();
  shape.window = 128;
  shape.latent_width = shape.kv_lora_rank = 512;
  CHECK(refusal(shape).empty());
  for (const std::int64_t width : {516, 510}) {
    shape.latent_width = shape.kv_lora_rank = width;
    CHECK_THAT(refusal(shape), Contains("head_dim") && Contains(std::to_string(width)));
    CHECK_THAT(refusal(shape), !Contains("kv_lora_rank"));
  }
}

TEST_CASE("GPU dense attention beyond the kernels' limits is refused by the key of config.json") {
  const auto refusal_of = [](ExpandedShape expanded) {
    ModelShape shape = released_shape();
    shape.dense = expanded;
    return refusal(shape);
  };
  CHECK(refusal_of({128, 64, 128}).empty());
  CHECK(refusal_of({192, 64, 256}).empty());
  CHECK_THAT(refusal_of({196, 64, 128}), Contains("qk_nope_head_dim + qk_rope_head_dim"));
  CHECK_THAT(refusal_of({126, 64, 128}), Contains("qk_nope_head_dim") && Contains("126"));
  CHECK_THAT(refusal_of({128, 62, 128}), Contains("qk_rope_head_dim") && Contains("62"));
  CHECK_THAT(refusal_of({128, 64, 260}), Contains("v_head_dim") && Contains("at most 256"));
}

TEST_CASE("GPU an indexer too narrow or too wide for a precision runs in another one") {
  ModelShape shape = released_shape();
  const auto refused = [&](std::int64_t width, Precision indexer) {
    shape.index_head_dim = width;
    return Contains("--indexer-precision fp32").match(refusal(shape, indexer));
  };
  CHECK_FALSE(refused(24, Precision::fp32));
  CHECK(refused(24, Precision::bf16));
  CHECK_FALSE(refused(48, Precision::bf16));
  CHECK(refused(48, Precision::fp8));
  CHECK(refused(16, Precision::fp8));
  CHECK(refused(256, Precision::fp8));
  CHECK_FALSE(refused(64, Precision::fp8));
}
