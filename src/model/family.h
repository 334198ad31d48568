// SPDX-License-Identifier: Apache-2.0
// Which model family a config.json describes.
#pragma once

#include "model/config_reader.h"

#include <string>

namespace indexcache {

enum class Family { deepseek_v32, glm_moe_dsa };

struct FamilyReading {
  Family family;
  std::string architecture;  // the family's name in architectures: "DeepseekV32ForCausalLM"
  std::string remark;        // what disagrees but decides nothing; empty if everything agrees
};

// `architectures`, `model_type` and the keys of the indexer decide together: training code leaves
// out the first, and people edit both to get past old libraries. Throws InputError that says what
// was seen for other families and for evidence that contradicts itself.
FamilyReading read_family(const ConfigReader& config);

// The architecture of any config.json: that of its family, else what architectures says; may be
// empty.
std::string architecture_of(const Json& config);

}  // namespace indexcache
