// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/shape_check.h"

#include "core/error.h"
#include "kernels/causal_attention.h"
#include "kernels/indexer_logits.h"
#include "kernels/overlap.h"
#include "kernels/quantize_index.h"
#include "kernels/route.h"
#include "kernels/sparse_attention.h"
#include "kernels/streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace indexcache::cuda {
namespace {

void require(bool holds, const char* key, std::int64_t value, const std::string& limit) {
  if (holds) return;
  throw InputError({"the GPU backend has no kernel for this model", key,
                    fmt::format("it is {}; it must be {}", value, limit), "--device cpu"});
}

void require_multiple(const char* key, std::int64_t value, int unit) {
  require(value % unit == 0, key, value, fmt::format("a multiple of {}", unit));
}

void require_at_most(const char* key, std::int64_t value, int most) {
  require(value <= most, key, value, fmt::format("at most {}", most));
}

bool power_of_two(std::int64_t width) {
  return width > 0 && (width & (width - 1)) == 0;
}

// Tensor cores multiply whole sixteens; the Hadamard rotation of FP8 needs a power of two.
void check_index_width(Precision indexer, std::int64_t width) {
  if (indexer == Precision::fp32) return;
  bool fits =
      width % kernels::kIndexTensorCoreUnit == 0 && width <= kernels::kMostIndexTensorCoreWidth;
  if (indexer == Precision::fp8) {
    fits = fits && power_of_two(width) && width >= kernels::kLeastQuantizedWidth &&
           width <= kernels::kMostQuantizedWidth;
  }
  if (fits) return;
  const int most = indexer == Precision::fp8
                       ? std::min(kernels::kMostIndexTensorCoreWidth, kernels::kMostQuantizedWidth)
                       : kernels::kMostIndexTensorCoreWidth;
  const std::string limit =
      indexer == Precision::fp8
          ? fmt::format("a power of two from {} to {}", kernels::kLeastQuantizedWidth, most)
          : fmt::format("a multiple of {}, at most {}", kernels::kIndexTensorCoreUnit, most);
  throw UsageError({fmt::format("this model's indexer cannot run in {}", name_of(indexer)),
                    "--indexer-precision",
                    fmt::format("index_head_dim is {}; it must be {}", width, limit),
                    "--indexer-precision fp32"});
}

void check_expanded(const ExpandedShape& shape) {
  require_multiple("qk_nope_head_dim", shape.nope, kernels::kCausalUnit);
  require_multiple("qk_rope_head_dim", shape.rope, kernels::kCausalUnit);
  require_multiple("v_head_dim", shape.value, kernels::kCausalUnit);
  require_at_most("qk_nope_head_dim + qk_rope_head_dim", shape.nope + shape.rope,
                  kernels::kMostCausalKeyWidth);
  require_at_most("v_head_dim", shape.value, kernels::kMostCausalValueWidth);
}

}  // namespace

void check_shape(const ModelShape& shape, Precision indexer) {
  const bool whole = shape.window > 0;  // keys are values
  const char* latent = whole ? "head_dim" : "kv_lora_rank + qk_rope_head_dim";
  require_multiple(latent, shape.latent_width, kernels::kAttentionKeyUnit);
  require_at_most(whole ? "head_dim" : "kv_lora_rank", shape.kv_lora_rank,
                  kernels::kMostAttentionValueWidth);
  require_at_most(latent, shape.latent_width, kernels::kMostAttentionKeyWidth);
  require_multiple("index_head_dim", shape.index_head_dim, kernels::kIndexUnit);
  require_at_most("n_routed_experts", shape.routed_experts, kernels::kMostExperts);
  require_at_most("num_experts_per_tok", shape.experts_used, kernels::kMostExpertsUsed);
  require_at_most("n_group", shape.expert_groups, kernels::kMostExpertGroups);
  require_at_most("hc_mult", shape.streams, kernels::kMostStreams);
  require_at_most("num_hidden_layers", shape.layers, kernels::kMostOverlapLayers);
  check_index_width(indexer, shape.index_head_dim);
  if (shape.dense) check_expanded(*shape.dense);
}

}  // namespace indexcache::cuda
