// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_registry.h"
#include "model/weights.h"

namespace indexcache {

std::int64_t parameter_count(const ModelConfig& config, const Checkpoint& checkpoint,
                             const std::vector<bool>& has_indexer) {
  std::int64_t count = 0;
  for (const TensorSpec& spec : read_tensors(config, checkpoint, has_indexer)) {
    if (spec.optional) continue;
    const RawTensor& tensor = checkpoint.tensor(spec.name);
    count += tensor.elements() * (tensor.dtype == DType::i8 ? 2 : 1);  // pairs
  }
  return count;
}

}  // namespace indexcache
