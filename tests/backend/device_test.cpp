// SPDX-License-Identifier: Apache-2.0
// The device that the user names, and the backend that is made of it.
#include "backend/devices/make_backend.h"
#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("devices are read as they are named") {
  using Kind = DeviceSpec::Kind;
  CHECK(parse_device("auto") == DeviceSpec{Kind::automatic, 0});
  CHECK(parse_device("cpu") == DeviceSpec{Kind::cpu, 0});
  CHECK(parse_device("cuda") == DeviceSpec{Kind::cuda, 0});
  CHECK(parse_device("cuda:0") == parse_device("cuda"));
  CHECK(parse_device("cuda:13") == DeviceSpec{Kind::cuda, 13});
  for (const char* text : {"auto", "cpu", "cuda", "cuda:7"}) {
    CHECK(name_of(parse_device(text)) == text);
  }
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999",
                           "cuda1", "CPU", "cpu:0"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_device(text), UsageError);
  }
}

TEST_CASE("a backend is made as its options say") {
  const DeviceSpec cpu = parse_device("cpu");
  const auto backend = make_backend({.device = cpu, .threads = 2, .memory_limit = 12345});
  CHECK(backend->name().starts_with("cpu "));  // and the instruction set
  CHECK(backend->memory_bytes() == 12345);
  CHECK_THROWS_AS(make_backend({.device = cpu, .compute = Precision::bf16}), UsageError);
  CHECK_THROWS_AS(make_backend({.device = cpu, .indexer = Precision::fp8}), UsageError);
}

TEST_CASE("a GPU that does not exist is refused, and the device is named") {
  try {
    make_backend({.device = parse_device("cuda:4095")});
    FAIL("it was not refused");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("--device cuda:4095") && Contains("try: --device cpu"));
  }
}

TEST_CASE("the CPU runs every shape") {
  const auto backend = make_backend({.device = parse_device("cpu")});
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
