// SPDX-License-Identifier: Apache-2.0
// The sizes of a model that decide whether a backend has kernels for it, and how much memory its
// operations take. Backends know no more of a model than this.
#pragma once

#include "core/hisa.h"

#include <cstdint>
#include <optional>

namespace indexcache {

// Keys and values of MLA in expanded form, which dense attention takes.
struct ExpandedShape {
  std::int64_t nope;   // qk_nope_head_dim
  std::int64_t rope;   // qk_rope_head_dim
  std::int64_t value;  // v_head_dim
};

// Comments give the keys of config.json, which errors name.
struct ModelShape {
  std::int64_t layers;            // num_hidden_layers
  std::int64_t vocabulary;        // vocab_size
  std::int64_t hidden;            // hidden_size
  std::int64_t streams = 1;       // hc_mult; 1 for a plain residual
  std::int64_t heads;             // num_attention_heads
  std::int64_t latent_width;      // kv_lora_rank + qk_rope_head_dim: keys of the absorbed form
  std::int64_t kv_lora_rank;      // values of the absorbed form
  std::int64_t index_heads;       // index_n_heads
  std::int64_t index_head_dim;    // index_head_dim
  std::int64_t index_topk;        // index_topk
  std::int64_t intermediate;      // intermediate_size
  std::int64_t moe_intermediate;  // moe_intermediate_size
  std::int64_t routed_experts;    // n_routed_experts
  std::int64_t experts_used;      // num_experts_per_tok
  std::int64_t expert_groups;     // n_group
  std::int64_t window = 0;        // sliding_window, of attention that has one beside entries; or 0
  IndexerMethod indexer = {};     // how tokens are selected; no key of config.json
  std::optional<ExpandedShape> dense = {};  // attention to everything instead, likewise
};

}  // namespace indexcache
