// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_registry.h"

#include "core/error.h"
#include "model/dequantize.h"
#include "model/weight_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace indexcache {
namespace {

// One number may be stored without a shape.
bool same_shape(const std::vector<std::int64_t>& stored, const std::vector<std::int64_t>& wanted) {
  return stored == wanted || (stored.empty() && wanted == std::vector<std::int64_t>{1});
}

void check_all(const std::vector<TensorSpec>& specs, const ModelConfig& config,
               const Checkpoint& checkpoint) {
  for (const TensorSpec& spec : specs) {
    if (spec.optional && !checkpoint.contains(spec.name)) continue;
    const std::string format = unread_storage(*config.family, checkpoint, spec);
    if (!format.empty()) throw UnreadFormat(format, checkpoint.where(spec.name));
    const RawTensor& tensor = checkpoint.tensor(spec.name);
    std::vector<std::int64_t> wanted = spec.shape;
    if (spec.packed && tensor.dtype == DType::i8) wanted.back() /= 2;
    if (!same_shape(tensor.shape, wanted)) {
      throw InputError({"a tensor has the wrong shape", checkpoint.where(spec.name),
                        fmt::format("it is {}, but config.json implies {}",
                                    shape_text(tensor.shape), shape_text(wanted)),
                        "check that config.json and weights belong to the same checkpoint"});
    }
    if (!spec.table) {
      check_readable(config, checkpoint, spec.name);
    } else if (tensor.dtype != DType::i64) {
      throw InputError({"a table of experts has the wrong type", checkpoint.where(spec.name),
                        fmt::format("it is {}, not I64", tensor.type()),
                        "download or convert the checkpoint again"});
    }
  }
}

// Refuses checkpoints whose tensors have names of another convention, before one of them is missed.
void check_naming(const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::string wanted = outer_tensors(config).front().name;  // "model.embed_tokens.weight"
  if (checkpoint.contains(wanted)) return;
  constexpr const char* kWhat = "the tensors are not named as those of a causal language model";
  if (!checkpoint.names().empty() && std::string_view(config.family->layers) == "layers.") {
    throw InputError({kWhat, checkpoint.where(checkpoint.names().front()),
                      fmt::format("there is no {}: {} has names of its own, which other programs "
                                  "change when they save it",
                                  wanted, config.family->title),
                      "use the checkpoint as it was released"});
  }
  const std::size_t dot = wanted.find('.');
  const std::string beginning = wanted.substr(0, dot + 1), embedding = wanted.substr(dot + 1);
  for (const std::string& name : checkpoint.names()) {
    if (name == "embed.weight") {
      throw InputError({kWhat, checkpoint.where(name),
                        "the names are those of DeepSeek's own inference code",
                        "use the checkpoint that was converted for it"});
    }
    // MTP layers have copies of the embedding.
    if (!name.ends_with(embedding) || name.starts_with(config.family->layers)) continue;
    const std::string prefix = name.substr(0, name.size() - embedding.size());
    throw InputError(
        {kWhat, checkpoint.where(name),
         prefix.empty()
             ? fmt::format("they lack \"{}\" at the beginning, as AutoModel saves them", beginning)
             : fmt::format("they begin with \"{}\", not with \"{}\"", prefix, beginning),
         "load the original with AutoModelForCausalLM and save it with save_pretrained, which "
         "keeps lm_head, too"});
  }
}

// The layer whose indexer a tensor of `family` belongs to, whatever comes before "layers."; a
// number that no layer has for other tensors.
std::size_t indexer_layer(const std::string& name, const Family& family) {
  constexpr auto kNone = static_cast<std::size_t>(-1);
  std::string_view layers = family.layers;
  const std::size_t dot = layers.rfind('.', layers.size() - 2);
  if (dot != layers.npos) layers.remove_prefix(dot + 1);
  const std::size_t at = name.find(layers);
  if (at == name.npos || name.find(family.indexer, at) == name.npos) return kNone;
  std::size_t layer = kNone;
  std::from_chars(name.data() + at + layers.size(), name.data() + name.size(), layer);
  return layer;
}

bool owns_indexer(const ModelConfig& config, const Checkpoint& checkpoint, std::int64_t layer) {
  for (const TensorSpec& spec : indexer_tensors(config, layer)) {
    if (checkpoint.contains(spec.name)) return true;
  }
  return false;
}

}  // namespace

std::vector<TensorSpec> outer_tensors(const ModelConfig& config) {
  return stored_tensors(config.family->outer_weights(config));
}

std::vector<TensorSpec> trunk_tensors(const ModelConfig& config, std::int64_t layer, bool stacked) {
  return stored_tensors(trunk_rows(config.family->layer_weights(config, layer)), stacked);
}

std::vector<TensorSpec> indexer_tensors(const ModelConfig& config, std::int64_t layer) {
  return stored_tensors(indexer_rows(config.family->layer_weights(config, layer)));
}

bool has_stacked_experts(const ModelConfig& config, const Checkpoint& checkpoint,
                         std::int64_t layer) {
  const WeightTable table = config.family->layer_weights(config, layer);
  const auto has_any = [&](const auto& name_of) {
    return std::ranges::any_of(table, [&](const WeightRow& row) {
      return !row.stack.empty() && checkpoint.contains(name_of(row));
    });
  };
  if (has_any([](const WeightRow& row) { return row.stack; })) return true;
  return config.family->stacks_experts &&
         !has_any([](const WeightRow& row) { return expert_name(row.names.front(), 0); });
}

std::vector<TensorSpec> read_tensors(const ModelConfig& config, const Checkpoint& checkpoint,
                                     const std::vector<bool>& has_indexer) {
  std::vector<TensorSpec> all = outer_tensors(config);
  const auto add = [&](const std::vector<TensorSpec>& more) {
    std::ranges::copy_if(more, std::back_inserter(all), [&](const TensorSpec& spec) {
      return !spec.optional || checkpoint.contains(spec.name);
    });
  };
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    add(trunk_tensors(config, layer, has_stacked_experts(config, checkpoint, layer)));
    if (config.is_marked(has_indexer, layer)) add(indexer_tensors(config, layer));
  }
  return all;
}

std::vector<bool> indexer_owners(const std::vector<std::string>& names, std::size_t layers) {
  std::vector<bool> owners(layers, false);
  for (const std::string& name : names) {
    for (const Family* family : families()) {
      const std::size_t layer = indexer_layer(name, *family);
      if (layer < layers) owners[layer] = true;
    }
  }
  return owners;
}

std::vector<bool> check_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint) {
  check_naming(config, checkpoint);
  check_all(outer_tensors(config), config, checkpoint);
  std::vector<bool> has_indexer;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool stacked = has_stacked_experts(config, checkpoint, layer);
    check_all(trunk_tensors(config, layer, stacked), config, checkpoint);
    if (!config.selects(layer)) continue;
    has_indexer.push_back(owns_indexer(config, checkpoint, layer));
    const bool stated_full =
        config.sharing_problem.empty() && config.is_marked(config.native_full, layer);
    if (has_indexer.back() || stated_full) {
      check_all(indexer_tensors(config, layer), config, checkpoint);
    }
  }
  return has_indexer;
}

}  // namespace indexcache
