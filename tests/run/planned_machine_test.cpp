// SPDX-License-Identifier: Apache-2.0
// Plans for machines that are not here take what the GPU backend says of such a machine.
#include "run/planned_machine.h"

#include "backend/expert_products.h"
#include "model/config.h"
#include "support/catch.h"
#include "support/files.h"

#include <utility>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("experts of a planned machine take what its GPU backend would say") {
  const ModelShape tiny = read_config(golden("deepseek_v32_tiny")).shape();
  ModelShape large = tiny;
  large.hidden = 7168;
  large.moe_intermediate = 2048;
  for (const auto& [card, is_hopper] :
       {std::pair{"8xH200", true}, {"H100", true}, {"A100", false}, {"4x80GiB", false}}) {
    for (const char* precision : {"fp32", "bf16", "fp8"}) {
      INFO(card << ", " << precision);
      DeviceOptions options;
      options.precision = precision;
      const auto device = make_planned_device(parse_machine(card), options);
      const Device& defaults = *device;
      CHECK(device->expert_row_bytes(tiny) == gpu_expert_row_bytes(*device, tiny, is_hopper));
      CHECK(device->expert_row_bytes(tiny) == defaults.Device::expert_row_bytes(tiny));
      const bool groups = is_hopper && device->activation() == DType::bf16;
      CHECK(device->expert_row_bytes(large) ==
            (groups ? grouped_expert_row_bytes(large, device->keeps_fp8())
                    : defaults.Device::expert_row_bytes(large)));
    }
  }
}
