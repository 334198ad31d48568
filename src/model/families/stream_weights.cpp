// SPDX-License-Identifier: Apache-2.0
#include "model/families/stream_weights.h"

namespace indexcache {

void add_streams(WeightTable& table, const ModelConfig& model, const std::string& name,
                 const StreamRoles& roles, std::int64_t outputs, std::int64_t parts) {
  table.push_back(exact_weight(roles.mixer, name + "fn", outputs, model.residual_width()));
  table.push_back(row_weight(roles.base, name + "base", outputs));
  table.push_back(row_weight(roles.scale, name + "scale", parts));
}

}  // namespace indexcache
