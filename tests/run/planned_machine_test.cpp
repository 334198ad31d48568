// SPDX-License-Identifier: Apache-2.0
// Plans for machines that are not here take what the GPU backend says of such a machine.
#include "run/planned_machine.h"

#include "backend/expert_products.h"
#include "backend/gpu_scratch.h"
#include "io/yaml.h"
#include "model/config.h"
#include "support/catch.h"
#include "support/files.h"

#include <filesystem>
#include <functional>
#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A released model without weights.
ModelConfig shipped(const std::string& name) {
  const auto path = std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs" / (name + ".yaml");
  return parse_config(parse_yaml(read_file(path), path.string())["config"], name);
}

using Check = std::function<void(const Backend& device, bool is_hopper)>;

void on_machines(const Check& check) {
  for (const auto& [card, is_hopper] :
       {std::pair{"8xH200", true}, {"H100", true}, {"A100", false}, {"4x80GiB", false}}) {
    for (const char* precision : {"fp32", "bf16", "fp8"}) {
      INFO(card << ", " << precision);
      if (card == std::string("A100") && precision == std::string("fp8")) continue;  // refused
      DeviceOptions options;
      options.precision = precision;
      check(*make_planned_device(parse_machine(card), options), is_hopper);
    }
  }
}

}  // namespace

TEST_CASE("experts of a planned machine take what its GPU backend would say") {
  const ModelShape tiny = read_config(golden("deepseek_v32_tiny")).shape();
  const ModelShape large = shipped("deepseek-v3.2").shape();
  on_machines([&](const Backend& device, bool is_hopper) {
    const Device& defaults = device;
    CHECK(device.expert_row_bytes(tiny) == gpu_expert_row_bytes(device, tiny, is_hopper));
    CHECK(device.expert_row_bytes(tiny) == defaults.Device::expert_row_bytes(tiny));
    const bool groups = is_hopper && device.activation() == DType::bf16;
    CHECK(device.expert_row_bytes(large) ==
          (groups ? grouped_expert_row_bytes(large, device.keeps_fp8())
                  : defaults.Device::expert_row_bytes(large)));
  });
}

TEST_CASE(
    "products, attention and logits of a planned machine take what its GPU backend would say") {
  for (const ModelConfig& config :
       {read_config(golden("deepseek_v32_tiny")), read_config(golden("deepseek_v4_tiny")),
        shipped("deepseek-v3.2"), shipped("glm-5"), shipped("dsa-30b"),
        shipped("deepseek-v4-flash")}) {
    const ModelShape shape = config.shape();
    on_machines([&](const Backend& device, bool is_hopper) {
      INFO(shape.heads << " heads of " << shape.latent_width);
      CHECK(device.linear_row_bytes(shape.hidden) == gpu_linear_row_bytes(device, shape.hidden));
      CHECK((device.linear_row_bytes(shape.hidden) > 0) == device.keeps_fp8());
      CHECK(device.mlp_row_bytes(shape.hidden, shape.intermediate) ==
            gpu_mlp_row_bytes(device, shape.hidden, shape.intermediate));
      CHECK(device.attention_row_bytes(shape) == gpu_attention_row_bytes(device, shape, is_hopper));
      CHECK(device.scratch_bytes(shape, 9000, 8192) == kProductStreams * kProductWorkspaceBytes);
      const std::int64_t chunk = gpu_logits_chunk(device.memory_bytes());
      CHECK(device.logits_bytes(shape, 9000, 8192) == gpu_logits_bytes(shape, 9000, 8192, chunk));
    });
  }
}

TEST_CASE("a planned Hopper GPU is not called slow, whatever computes the plan") {
  on_machines([](const Backend& device, bool is_hopper) {
    if (is_hopper) CHECK(device.remark().empty());
  });
}

TEST_CASE("a planned machine has smaller slots for uploads under a memory limit") {
  DeviceOptions options;
  const auto slots = [&] {
    return make_planned_device(parse_machine("H200"), options)->uploader_bytes();
  };
  CHECK(slots() == 3 * (std::int64_t{64} << 20));
  options.memory_limit = "960MiB";
  CHECK(slots() == 60 << 20);
}

TEST_CASE("plans for cards that are no Hopper GPUs refuse FP8 products, as such a GPU would") {
  DeviceOptions options;
  options.precision = "fp8";
  for (const char* card : {"A100", "8xB200"}) {
    CHECK_THROWS_AS(make_planned_device(parse_machine(card), options), UsageError);
  }
  for (const char* card : {"H100", "8xH200", "4x80GiB"}) {
    CHECK(make_planned_device(parse_machine(card), options)->keeps_fp8());
  }
}

TEST_CASE("a planned machine quantizes rows in FP8, and packs sets of few heads") {
  const ModelConfig few_heads = shipped("dsa-30b"), many_heads = shipped("deepseek-v3.2");
  on_machines([&](const Backend& device, bool is_hopper) {
    const bool packs = is_hopper && device.activation() == DType::bf16;
    CHECK(device.attention_row_bytes(few_heads.shape()) == (packs ? 5 * (1365 + 3) + 28 : 0));
    CHECK(device.attention_row_bytes(many_heads.shape()) == 0);
    CHECK(device.linear_row_bytes(7168) == (device.keeps_fp8() ? 7168 + 4 * 56 : 0));
  });
}
