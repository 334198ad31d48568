// SPDX-License-Identifier: Apache-2.0
// Model families: what one is, which there are, and which of them a config.json describes.
//
// A family is one file in model/families/ and a line in families() (docs/models.md, "Add a
// family").
#pragma once

#include "model/config_reader.h"
#include "model/weight_table.h"

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

struct ModelConfig;

struct Family {
  const char* title;         // "DeepSeek-V3.2"
  const char* model_type;    // as in config.json: "deepseek_v32"
  const char* architecture;  // in architectures: "DeepseekV32ForCausalLM"
  const char* backbone;      // the same as AutoModel saves it
  // Formats of its conversations (text/chat_format.h); unused places are null.
  std::array<const char*, 4> chat_formats;
  // Beginnings of names of dense relatives, which people write into config.json to get past old
  // libraries; unused places are null.
  std::array<const char*, 4> dense_relatives;
  const char* layers;   // what names of a layer's tensors begin with, before its number
  const char* indexer;  // what names of an indexer's tensors contain
  // What names of MTP layers begin with, unless they are layers with higher numbers.
  const char* mtp = nullptr;
  bool short_scales = false;    // scales of X.weight are X.scale, not X.weight_scale_inv
  bool stacks_experts = false;  // checkpoints have one tensor for all experts of a layer
  // Reads and checks all keys of config.json but architectures and model_type.
  void (*read)(const ConfigReader& config, ModelConfig& model);
  // Weights outside the layers, and of a layer with its indexer.
  WeightTable (*outer_weights)(const ModelConfig& model);
  WeightTable (*layer_weights)(const ModelConfig& model, std::int64_t layer);
};

// Every family that is supported.
std::span<const Family* const> families();

// Adds a family for the lifetime of the object, for programs and tests that bring their own. Not
// thread-safe.
class AddedFamily {
 public:
  explicit AddedFamily(const Family& family);
  ~AddedFamily();
  AddedFamily(const AddedFamily&) = delete;
  AddedFamily& operator=(const AddedFamily&) = delete;

 private:
  const Family* family_;
};

struct FamilyReading {
  const Family* family;
  std::string remark;  // what disagrees but decides nothing; empty if everything agrees
};

// Names of a checkpoint's tensors; called only to describe a model that is refused.
using TensorNames = std::function<std::vector<std::string>()>;

// `architectures`, `model_type` and the keys of the indexer decide together: training code leaves
// out the first, and people edit both to get past old libraries. Throws InputError that says what
// was seen for other families and for evidence that contradicts itself.
FamilyReading read_family(const ConfigReader& config, const TensorNames& tensors = {});

// The architecture of any config.json: that of its family, else what architectures says; may be
// empty.
std::string architecture_of(const Json& config);

}  // namespace indexcache
