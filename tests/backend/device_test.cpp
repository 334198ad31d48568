// SPDX-License-Identifier: Apache-2.0
// The device that the user names, and the backend that is made of it.
#include "backend/cpu/cpu_backend.h"
#include "backend/devices/make_backend.h"
#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("devices are read as they are named") {
  using Kind = DeviceSpec::Kind;
  CHECK(parse_devices("auto") == DeviceList{Kind::automatic});
  CHECK(parse_devices("cpu") == DeviceList{Kind::cpu, {}, 1});
  CHECK(parse_devices("cpu,cpu,cpu") == DeviceList{Kind::cpu, {}, 3});
  CHECK(parse_devices("cuda") == DeviceList{Kind::cuda});
  CHECK(parse_devices("cuda:13") == DeviceList{Kind::cuda, {13}});
  CHECK(parse_devices("cuda:2,0") == DeviceList{Kind::cuda, {2, 0}});
  CHECK(name_of(DeviceSpec{Kind::automatic}) == "auto");
  CHECK(name_of(DeviceSpec{Kind::cpu}) == "cpu");
  CHECK(name_of(DeviceSpec{Kind::cuda, 0}) == "cuda");
  CHECK(name_of(DeviceSpec{Kind::cuda, 7}) == "cuda:7");
  for (const char* text :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "cuda1", "CPU",
        "cpu:0", "cuda:0,0", "cuda:0,", "cpu,", "cpu,cuda", "auto,cpu"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_devices(text), UsageError);
  }
}

TEST_CASE("a backend is made as its options say") {
  const DeviceSpec cpu{DeviceSpec::Kind::cpu};
  const auto backend = make_backend({.device = cpu, .threads = 2, .memory_limit = 12345});
  CHECK(backend->name().starts_with("cpu "));  // and the instruction set
  CHECK(backend->memory_bytes() == 12345);
  CHECK_FALSE(backend->keeps_fp8());
  const auto fp8 = make_backend({.device = cpu, .compute = Precision::fp8});
  CHECK(fp8->keeps_fp8());
  CHECK(fp8->name() == backend->name() + " fp8");  // in fingerprints: its losses have other bits
  CHECK(fp8->activation() == DType::f32);
  CHECK_THAT(fp8->remark(), Contains("slow"));
  CHECK_THROWS_AS(make_backend({.device = cpu, .compute = Precision::bf16}), UsageError);
  const auto both =
      make_backend({.device = cpu, .compute = Precision::fp8, .indexer = Precision::fp4});
  CHECK(both->name() == fp8->name() + " indexer fp4");
  // Refused before a GPU is looked for.
  const DeviceSpec gpu{DeviceSpec::Kind::cuda};
  CHECK_THROWS_AS(make_backend({.device = gpu, .indexer = Precision::fp4}), UsageError);
}

TEST_CASE("several backends share the processor and its memory") {
  const auto devices = choose_devices(parse_devices("cpu,cpu,cpu"), 0);
  REQUIRE(devices.size() == 3);
  const Backends backends = make_backends(devices, {.device = {}, .threads = 7});
  REQUIRE(backends.size() == 3);
  const auto alone = make_backend({.device = devices.front()});
  for (const auto& backend : backends) {
    CHECK(backend->memory_bytes() == alone->memory_bytes() / 3);
    CHECK(dynamic_cast<const CpuBackend&>(*backend).threads() == 2);
  }
  const Backends limited = make_backends(devices, {.device = {}, .memory_limit = 12345});
  CHECK(limited.back()->memory_bytes() == 12345);
}

TEST_CASE("more GPUs than there are cannot be chosen") {
  CHECK(choose_devices(parse_devices("cuda:3,1"), 1) ==
        std::vector<DeviceSpec>{{DeviceSpec::Kind::cuda, 3}});
  try {
    choose_devices(parse_devices("cuda:3,1"), 3);
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("--gpus 3") && Contains("2 GPUs are named by --device"));
  }
}

TEST_CASE("a GPU that does not exist is refused, and the device is named") {
  try {
    make_backend({.device = {DeviceSpec::Kind::cuda, 4095}});
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("--device cuda:4095") && Contains("try: --device cpu"));
  }
}

TEST_CASE("the CPU runs every shape") {
  const auto backend = make_backend({.device = {DeviceSpec::Kind::cpu}});
  CHECK_NOTHROW(backend->check({.layers = 1000,
                                .vocabulary = 7,
                                .hidden = 3,
                                .heads = 1,
                                .latent_width = 4097,
                                .kv_lora_rank = 4095,
                                .index_heads = 1,
                                .index_head_dim = 3,
                                .index_topk = 1,
                                .intermediate = 1,
                                .moe_intermediate = 1,
                                .routed_experts = 100000,
                                .experts_used = 99,
                                .expert_groups = 77}));
}
