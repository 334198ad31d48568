// SPDX-License-Identifier: Apache-2.0
// The weights that a forward pass reads, as data. A family states its table once
// (model/families/); the check of a checkpoint, the layout of its layers, the model that a
// config.json without weights implies, synthetic weights, and the counts of parameters and
// operations (model/sizes.h) are loops over it.
#pragma once

#include "core/dtype.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// Where weights go (model/weights.h). The names are those of DeepSeek-V3.2.
enum class WeightRole {
  embedding,
  final_norm,
  lm_head,
  head_stream_mixer,
  head_stream_base,
  head_stream_scale,
  input_norm,
  input_gate_down,
  input_gate_up,
  post_attention_norm,
  post_attention_gate_down,
  post_attention_gate_up,
  q_a,
  q_a_norm,
  q_b,
  kv_a,
  kv_a_norm,
  kv_b,
  sinks,
  output_gate,
  o_groups,  // in groups of heads, before o
  o,
  entry_projections,
  entry_bias,
  entry_norm,
  attention_stream_mixer,
  attention_stream_base,
  attention_stream_scale,
  mlp_stream_mixer,
  mlp_stream_base,
  mlp_stream_scale,
  index_q,
  index_k,
  index_k_norm,
  index_k_norm_bias,
  index_entry_projections,
  index_entry_bias,
  index_entry_norm,
  index_weights,
  router,
  router_bias,
  hash_table,
  expert_gate_up,
  expert_down,
  mlp_gate_up,  // of the dense MLP, or of the shared experts
  mlp_down,
};

// What stored numbers become on the device.
enum class WeightForm {
  row,       // f32 [1, cols], whatever the activation type: weights of norms, biases
  exact,     // f32 [rows, cols], likewise
  matrix,    // activation type
  heads,     // likewise, but one matrix for each group of heads: never multiplied in FP8
  table,     // i32 [rows, cols], numbers of experts
  absorbed,  // kv_b [A * (dn + dv), rk]: its key rows, transposed head by head, and its value rows
};

struct WeightRow {
  WeightRole role;
  WeightForm form;
  // Tensors of the checkpoint that lie one above the other in one matrix: gate, then up. {} is the
  // number of an expert.
  std::vector<std::string> names;
  std::int64_t rows, cols;   // of each of them; a row of WeightForm::row is stored as [cols]
  bool quantized = false;    // F8_E4M3 with block scales in checkpoints that are published in FP8
  bool packed = false;       // FP4 with a scale for 32 columns, in those whose experts are in FP4
  std::int64_t experts = 0;  // one for each expert; 0: only one
  // A tensor [experts, names * rows, cols] that a checkpoint may have for all experts instead.
  std::string stack = {};
  bool optional = false;
};
using WeightTable = std::vector<WeightRow>;

// Type on a device whose matrices have the type `activation`.
inline DType device_type(const WeightRow& row, DType activation) {
  if (row.form == WeightForm::table) return DType::i32;
  return row.form == WeightForm::row || row.form == WeightForm::exact ? DType::f32 : activation;
}

// A row of WeightForm::row, of WeightForm::matrix, of a matrix that FP8 checkpoints store in FP8,
// and of WeightForm::exact.
WeightRow row_weight(WeightRole role, const std::string& name, std::int64_t cols);
WeightRow matrix_weight(WeightRole role, const std::string& name, std::int64_t rows,
                        std::int64_t cols);
WeightRow projection_weight(WeightRole role, const std::string& name, std::int64_t rows,
                            std::int64_t cols);
WeightRow exact_weight(WeightRole role, const std::string& name, std::int64_t rows,
                       std::int64_t cols);

bool is_indexer(WeightRole role);

// The rows of the indexer, or all others.
WeightTable indexer_rows(const WeightTable& table);
WeightTable trunk_rows(const WeightTable& table);

// The row of a role, which must be there.
const WeightRow& row_of(const WeightTable& table, WeightRole role);
WeightRow& row_of(WeightTable& table, WeightRole role);

// `name` with the number of an expert.
std::string expert_name(const std::string& name, std::int64_t expert);

// Calls visit(row, expert) for every matrix: all of an expert before the next expert. The expert is
// 0 for rows that are not those of experts.
template <typename Visit>
void for_each_weight(const WeightTable& table, const Visit& visit) {
  for (std::size_t begin = 0; begin < table.size();) {
    std::size_t end = begin + 1;
    if (table[begin].experts > 0) {
      while (end < table.size() && table[end].experts == table[begin].experts) ++end;
    }
    const std::int64_t experts = table[begin].experts > 0 ? table[begin].experts : 1;
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      for (std::size_t i = begin; i < end; ++i) visit(table[i], expert);
    }
    begin = end;
  }
}

// A tensor of a checkpoint.
struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  bool quantized = false;  // as in WeightRow
  bool optional = false;
  bool packed = false;
  bool table = false;  // integers
};

// What a checkpoint stores for a table; `stacked`: in the tensors that hold all experts, where the
// table names them.
std::vector<TensorSpec> stored_tensors(const WeightTable& table, bool stacked = false);

}  // namespace indexcache
