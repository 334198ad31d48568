// SPDX-License-Identifier: Apache-2.0
// A shape file for --synthetic.
#pragma once

#include <string>

namespace indexcache::test {

// A synthetic model that a CPU runs through at once.
inline std::string tiny_shape() {
  return R"(share_layers: true
config:
  architectures: [GlmMoeDsaForCausalLM]
  model_type: glm_moe_dsa
  vocab_size: 64
  hidden_size: 32
  num_hidden_layers: 4
  num_attention_heads: 2
  num_key_value_heads: 2
  q_lora_rank: 16
  kv_lora_rank: 16
  qk_nope_head_dim: 8
  qk_rope_head_dim: 8
  v_head_dim: 8
  index_n_heads: 8
  index_head_dim: 32
  index_topk: 16
  intermediate_size: 32
  moe_intermediate_size: 16
  n_routed_experts: 4
  num_experts_per_tok: 2
  n_shared_experts: 1
  n_group: 1
  topk_group: 1
  norm_topk_prob: true
  first_k_dense_replace: 1
  routed_scaling_factor: 1.0
  rms_norm_eps: 1.0e-5
  max_position_embeddings: 1024
  rope_parameters: {rope_theta: 10000, rope_type: default}
)";
}

}  // namespace indexcache::test
