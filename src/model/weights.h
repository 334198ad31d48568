// SPDX-License-Identifier: Apache-2.0
// Weights in a backend's memory, a layer at a time, and where a forward pass gets them from.
#pragma once

#include "backend/backend.h"
#include "core/error.h"
#include "io/checkpoint.h"
#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// How entries are pooled from positions, r at a time: columns n = width of an entry, or twice that
// if they overlap.
struct EntryWeights {
  Tensor projections;  // [2n, H]: rows of the values, then of the gates
  Tensor bias;         // f32 [r, n], added to the gates
  Tensor norm;         // [1, width], of the entries

  std::int64_t ratio() const { return bias.rows(); }
};

struct IndexerWeights {
  Tensor wq_b;                               // [Ni * Di, rq]
  Tensor wk;                                 // [Di, H]
  Tensor k_norm;                             // [1, Di]
  Tensor k_norm_bias;                        // [1, Di]
  Tensor weights_proj;                       // [Ni, H]
  std::optional<EntryWeights> entries = {};  // of keys that are entries: instead of wk and its norm
};

// The member that a role of an indexer fills, of IndexerWeights or of a struct with the same
// members.
template <typename Indexer>
auto& indexer_member(Indexer& indexer, WeightRole role) {
  switch (role) {
    case WeightRole::index_q:
      return indexer.wq_b;
    case WeightRole::index_k:
      return indexer.wk;
    case WeightRole::index_k_norm:
      return indexer.k_norm;
    case WeightRole::index_k_norm_bias:
      return indexer.k_norm_bias;
    case WeightRole::index_weights:
      return indexer.weights_proj;
    default:
      throw InternalError({"a weight is no part of an indexer", "indexer_member", "", ""});
  }
}

struct MlpWeights {
  Tensor gate_up;  // [2 * I, H]: gate rows, then up rows
  Tensor down;     // [H, I]
};

struct MoeWeights {
  Tensor gate;             // [E, H]
  Tensor correction_bias;  // [1, E]
  Tensor hash_table;       // i32 [V, P], experts of each token; empty: scores choose
  ExpertWeights experts;
};

// A low-rank gate on a normalized row: x * sigmoid(up silu(down x)).
struct NormGate {
  Tensor down;  // [g, H]
  Tensor up;    // [H, g]
};

// What makes the input of a sublayer of the residual.
struct InputWeights {
  std::optional<StreamWeights> streams;
  Tensor norm;  // [1, H]
  std::optional<NormGate> gate;
};

struct LayerWeights {
  InputWeights attention_input;
  InputWeights mlp_input;
  Tensor q_a;                           // [rq, H]
  Tensor q_a_norm;                      // [1, rq]
  Tensor q_b;                           // [A * (dn + dr), rq]; more with ModelConfig::q_head_rows()
  Tensor kv_a;                          // [rk + dr, H]
  Tensor kv_a_norm;                     // [1, rk]
  Tensor k_absorb;                      // [A * rk, dn]: per head the transpose of kv_b's key rows
  Tensor v_absorb;                      // [A * dv, rk]: per head kv_b's value rows
  Tensor sinks;                         // [1, A]; empty if there are none
  Tensor output_gate;                   // [A * dv, H] with OutputGate::input
  Tensor o_groups;                      // [G * O, A * D / G] of compressed attention
  Tensor o;                             // [H, A * dv]; [H, G * O] after o_groups
  std::optional<EntryWeights> entries;  // of layers with compressed keys
  std::optional<IndexerWeights> indexer;
  std::optional<MlpWeights> mlp;  // the dense MLP, or the shared experts
  std::optional<MoeWeights> moe;
};

// Weights outside the layers.
struct OuterWeights {
  Tensor embedding;   // [V, H]
  Tensor final_norm;  // [1, H]
  Tensor lm_head;     // [V, H]
  std::optional<StreamWeights> head_streams;
};

// The member that a role fills; an optional part comes into being when its first member is asked
// for, experts one after the other. Not for kv_b, which becomes k_absorb and v_absorb.
Tensor& member_of(LayerWeights& weights, WeightRole role, std::size_t expert = 0);
Tensor& member_of(OuterWeights& weights, WeightRole role);

// Where a forward pass gets its weights from.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  const OuterWeights& outer() const { return outer_; }
  const Tensor& embedding() const { return outer_.embedding; }
  const Tensor& final_norm() const { return outer_.final_norm; }
  const Tensor& lm_head() const { return outer_.lm_head; }

  // Valid until the next call.
  virtual const LayerWeights& layer(std::int64_t layer) = 0;
  // Whether the tensors of a layer keep their values as long as somebody holds them.
  virtual bool is_stable() const { return false; }

 protected:
  OuterWeights outer_;
};

// Parameters from headers only, MTP layers excluded.
std::int64_t parameter_count(const ModelConfig& config, const Checkpoint& checkpoint,
                             const std::vector<bool>& has_indexer);

}  // namespace indexcache
