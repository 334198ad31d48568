// SPDX-License-Identifier: Apache-2.0
#include "model/unread_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace indexcache {
namespace {

bool is_harmless(std::string_view key) {
  static const std::set<std::string_view> known = {
      // Names, versions, types and places.
      "architectures", "auto_map", "dtype", "model_type", "name_or_path", "tokenizer_class",
      "torch_dtype", "torchscript", "transformers_version", "transformers.js_config",
      "unsloth_fixed", "unsloth_version",
      // Tokens and generation.
      "bos_token_id", "decoder_start_token_id", "eos_token_id", "forced_bos_token_id",
      "forced_eos_token_id", "max_length", "max_new_tokens", "model_max_length", "pad_token_id",
      "prefix", "sep_token_id", "temperature", "top_k", "top_p", "unk_token_id", "use_cache",
      "return_dict", "output_attentions", "output_hidden_states",
      // Labels of heads that a language model does not have.
      "id2label", "label2id", "problem_type", "task_specific_params", "finetuning_task",
      // Training.
      "attention_dropout", "aux_loss_alpha", "embd_pdrop", "ep_size", "hidden_dropout",
      "initializer_range", "output_router_logits", "pretraining_tp", "resid_pdrop",
      "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef", "seq_aux", "tp_size",
      "use_bfloat16", "pruned_heads", "chunk_size_feed_forward",
      // Sharing, as engines read it; inspect shows what they make of it.
      "index_share_for_mtp_iteration", "index_skip_topk_offset", "index_topk_freq",
      "index_topk_pattern", "indexer_types", "use_index_cache",
      // Sizes that others imply, and formats of stored weights.
      "compression_config", "head_dim", "mlp_layer_types", "quantization_config", "scale_fmt"};
  if (known.contains(key) || key.starts_with("_") || key.starts_with("mtp_")) return true;
  return key.ends_with("_token_id") || key.ends_with("_token_ids");
}

}  // namespace

std::vector<std::string> suspicious_keys(const std::vector<std::string>& unread) {
  std::vector<std::string> keys = unread;
  std::erase_if(keys, [](const std::string& key) { return is_harmless(key); });
  return keys;
}

std::string listed(const std::vector<std::string>& names, std::size_t most) {
  std::vector<std::string> shown(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), most)));
  for (std::string& name : shown) {
    if (name.size() > 90) name = name.substr(0, 87) + "...";
  }
  const std::size_t more = names.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

}  // namespace indexcache
