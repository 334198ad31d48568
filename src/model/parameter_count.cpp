// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_registry.h"
#include "model/weights.h"

namespace indexcache {

std::int64_t parameter_count(const ModelConfig& config, const Checkpoint& checkpoint,
                             const std::vector<bool>& has_indexer) {
  std::int64_t count = 0;
  const auto add = [&](const std::vector<TensorSpec>& specs) {
    for (const TensorSpec& spec : specs) count += checkpoint.tensor(spec.name).elements();
  };
  add(outer_tensors(config));
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    add(attention_tensors(config, layer));
    add(feed_forward_tensors(config, layer, checkpoint.contains(fused_gate_up_name(layer))));
    if (has_indexer[static_cast<std::size_t>(layer)]) add(indexer_tensors(config, layer));
  }
  return count;
}

}  // namespace indexcache
