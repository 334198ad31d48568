// SPDX-License-Identifier: Apache-2.0
// config.json of a DSA model, checked and in one form for all families.
#pragma once

#include "backend/backend.h"
#include "core/layer_numbers.h"
#include "io/json.h"
#include "model/family.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// YaRN (docs/numerics.md, RoPE); absent for plain RoPE.
struct Yarn {
  double factor;
  double original_positions;  // original_max_position_embeddings
  double beta_fast;
  double beta_slow;
  double mscale;
  double mscale_all_dim;
  // Multiplies cosines and sines; absent: what follows from mscale and mscale_all_dim.
  std::optional<double> attention_factor = {};

  bool operator==(const Yarn&) const = default;
};

// DeepSeek-V4's attention. A query attends to the keys of the last positions, and in most layers
// also to entries, each of which is pooled from several positions: to all of them, or where they
// overlap to those that an indexer selects. Keys are values, of all heads.
struct CompressedAttention {
  // Positions of an entry of a layer with an indexer.
  static constexpr std::int64_t kSelectedRatio = 4;

  std::int64_t window;               // W: positions that a query sees, its own included
  std::vector<std::int64_t> ratios;  // [L] positions of an entry; 1: the layer has no entries
  std::int64_t output_groups;        // G: of heads, each with a projection of its own
  std::int64_t output_rank;          // O: width of what these make
  double rope_theta;                 // of layers with entries; the others have ModelConfig's
  std::optional<Yarn> yarn;
};

// What multiplies the results of the heads, through a sigmoid, before o.
enum class OutputGate {
  none,
  queries,  // further rows of q_b: per head the query, then the gate
  input,    // a projection of the normalized input
};

// Symbols in the comments are those of docs/numerics.md.
struct ModelConfig {
  const Family* family;
  std::int64_t vocabulary;        // V
  std::int64_t hidden;            // H
  std::int64_t layers;            // L, MTP layers excluded
  std::int64_t mtp_layers;        // num_nextn_predict_layers, ignored
  std::int64_t heads;             // A
  std::int64_t q_lora_rank;       // rq
  bool raw_q_latent = false;      // q_b reads the latent before its norm, too
  std::int64_t kv_lora_rank;      // rk
  std::int64_t qk_nope_head_dim;  // dn
  std::int64_t qk_rope_head_dim;  // dr
  std::int64_t v_head_dim;        // dv
  OutputGate output_gate = OutputGate::none;
  std::optional<CompressedAttention> compressed = {};  // instead of MLA
  bool attention_sinks = false;            // a logit per head that takes its share of the softmax
  std::optional<StreamRule> streams = {};  // residual streams; else the residual is one vector
  float expert_limit = kNoLimit;           // of SwiGLU in the routed experts
  float shared_limit = kNoLimit;           // of SwiGLU in the shared ones
  std::int64_t index_heads;                // Ni
  std::int64_t index_head_dim;             // Di
  std::int64_t index_topk;                 // K
  IndexerMethod indexer = {};  // how the tokens of a query are chosen; config.json does not say
  // Every query attends to all earlier tokens, and no indexer runs; config.json does not say.
  bool dense = false;
  std::int64_t intermediate;      // dense MLP width
  std::int64_t moe_intermediate;  // expert width
  std::int64_t routed_experts;    // E
  std::int64_t shared_experts;    // n_shared_experts
  bool packs_experts = false;     // the routed experts are released in FP4
  RouterRule router;
  std::int64_t hash_layers = 0;     // first layers whose experts a table of tokens chooses
  std::int64_t max_positions;       // max_position_embeddings
  float rms_norm_eps;               // block and final norms
  float mla_norm_eps;               // norms of the q and kv latents
  float index_norm_eps;             // LayerNorm of the indexer's keys
  std::int64_t norm_gate_rank = 0;  // of the gates on the norms before sublayers; 0: no gates
  double rope_theta;
  std::optional<Yarn> yarn;
  RopeLayout mla_rope = RopeLayout::interleaved;
  RopeLayout index_rope;
  bool index_rope_last = false;  // of the indexer's components the last dr rotate, not the first
  std::vector<bool> moe_layer;   // [L] routed experts (true) or a dense MLP
  // [letters()] F in the schedule that config.json states. If its sharing keys are no schedule,
  // which engines tolerate, sharing_problem says why, parse_config leaves every layer F, and
  // open_model puts the layers that own an indexer here.
  std::vector<bool> native_full;
  std::string sharing_problem;
  std::int64_t fp8_block_rows = 128;  // quantization_config.weight_block_size
  std::int64_t fp8_block_cols = 128;
  std::string unread_format;  // what quantization_config says if it is a format that is not read
  std::vector<std::string> remarks;      // of config.json, to be shown as warnings
  std::vector<std::string> unread_keys;  // of config.json, that might change the forward pass

  // A pattern has a letter for each layer that attends to what an indexer selects, in order.
  bool selects(std::int64_t layer) const {
    return !compressed || compressed->ratios[static_cast<std::size_t>(layer)] ==
                              CompressedAttention::kSelectedRatio;
  }
  std::vector<std::size_t> selecting_layers() const;
  std::size_t letters() const { return selecting_layers().size(); }
  LayerNumbers layer_numbers() const {
    return compressed ? LayerNumbers(selecting_layers(), static_cast<std::size_t>(layers))
                      : LayerNumbers();
  }
  // The letter of a layer that selects, and whether it is true in a list of letters; false for
  // other layers.
  std::size_t letter_of(std::int64_t layer) const;
  bool is_marked(const std::vector<bool>& letters, std::int64_t layer) const {
    return selects(layer) && letters[letter_of(layer)];
  }
  // Layers of the same kind cost the same: those with an MLP are 0 and those with experts 1; or if
  // attention is compressed, those that do not select are 0 and the others 1.
  std::size_t kind_of(std::int64_t layer) const;

  // Numbers of the residual of a row.
  std::int64_t residual_width() const { return (streams ? streams->count : 1) * hidden; }
  // Keys, and what of them is a value.
  std::int64_t latent_width() const { return kv_lora_rank + qk_rope_head_dim; }
  std::int64_t value_width() const { return compressed ? latent_width() : kv_lora_rank; }
  // Positions that a candidate of the indexer represents.
  std::int64_t positions_per_candidate() const {
    return compressed ? CompressedAttention::kSelectedRatio : 1;
  }
  // The first position that has more than index_topk candidates. Before it every candidate is
  // selected, so that no pattern changes anything: sequences are cut into prefix and tail there.
  // Dense attention never selects: all of a sequence is prefix.
  std::int64_t first_selecting_position() const {
    return dense ? std::numeric_limits<std::int64_t>::max()
                 : first_position_with_more(index_topk, positions_per_candidate());
  }
  // What a backend must know to say whether it can run the model.
  ModelShape shape() const;
  std::int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  // What q_b reads: the normalized latent, and maybe the latent itself after it.
  std::int64_t q_latent_width() const { return (raw_q_latent ? 2 : 1) * q_lora_rank; }
  // Rows of q_b for a head.
  std::int64_t q_head_rows() const {
    return qk_head_dim() + (output_gate == OutputGate::queries ? v_head_dim : 0);
  }
  // dqk^-0.5, times the square of YaRN's attention factor where there is YaRN.
  float softmax_scale() const;
};

// Throws InputError naming the key for anything missing, out of range or unsupported; other model
// families are refused by name, with what the folder shows of them. `mla_norm_eps` overrides
// config.json.
ModelConfig read_config(const std::filesystem::path& folder,
                        std::optional<double> mla_norm_eps = std::nullopt);

// The same from a document; `where` names it in errors, and `tensors` are those of its checkpoint.
ModelConfig parse_config(const Json& json, const std::string& where,
                         std::optional<double> mla_norm_eps = std::nullopt,
                         const TensorNames& tensors = {});

// Of a model that ends after its first `count` layers.
ModelConfig with_first_layers(ModelConfig config, std::int64_t count);

// YaRN's attention factor m(s, c) = 0.1 c ln(s) + 1 for s > 1.
double yarn_mscale(double factor, double mscale);

}  // namespace indexcache
