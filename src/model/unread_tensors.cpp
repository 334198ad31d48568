// SPDX-License-Identifier: Apache-2.0
#include "model/unread_tensors.h"

#include "core/error.h"
#include "model/dequantize.h"
#include "model/tensor_registry.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_set>

namespace indexcache {
namespace {

using Names = std::unordered_set<std::string>;

Names names_read(const ModelConfig& config, const Checkpoint& checkpoint,
                 const std::vector<bool>& has_indexer) {
  Names names;
  for (const TensorSpec& spec : read_tensors(config, checkpoint, has_indexer)) {
    names.insert(spec.name);
    const RawTensor* tensor = checkpoint.find(spec.name);
    const bool scaled = tensor != nullptr && !spec.table && has_scales(tensor->dtype);
    if (scaled) names.insert(scale_name(*config.family, spec.name));
  }
  return names;
}

// MTP layers, and tables that older libraries stored.
bool is_irrelevant(std::string_view name, const ModelConfig& config) {
  if (name.ends_with("rotary_emb.inv_freq") || name.starts_with("mtp.")) return true;
  if (config.family->mtp != nullptr && name.starts_with(config.family->mtp)) return true;
  const std::string_view prefix = config.family->layers;
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  std::int64_t layer = -1;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), layer);
  return parsed.ec == std::errc() && layer >= config.layers;
}

// The tensor whose name `name` continues with `ending`, if it is read; else "".
std::string read_partner(const std::string& name, std::string_view ending, const Names& read) {
  if (!name.ends_with(ending)) return "";
  const std::string base = name.substr(0, name.size() - ending.size());
  for (const std::string& partner : {base, base + ".weight"}) {
    if (read.contains(partner)) return partner;
  }
  return "";
}

void refuse_companion(const Checkpoint& checkpoint, const std::string& name, const Names& read) {
  for (const char* ending : {".bias", "_bias"}) {
    const std::string partner = read_partner(name, ending, read);
    if (partner.empty()) continue;
    throw InputError({"the checkpoint has a bias that the forward pass does not add",
                      checkpoint.where(name),
                      partner + " is read, but this architecture has no bias there: losses would "
                                "be those of a different model",
                      "use the checkpoint as it was published; remove the bias if all of it is 0"});
  }
  for (const char* ending :
       {"_scale_inv", "_scale", "_scale_2", "_global_scale", "_zero_point", ".scale", ".scales",
        ".qzeros", ".weight_scale_inv", ".weight_scale"}) {
    const std::string partner = read_partner(name, ending, read);
    if (partner.empty()) continue;
    throw InputError(
        {"the checkpoint contains a leftover scale", checkpoint.where(name),
         fmt::format("{} is stored as {}, which needs no scale: its values were "
                     "probably converted without applying it",
                     partner, checkpoint.tensor(partner).type()),
         "convert the original again and multiply by the scales, or use the original"});
  }
}

}  // namespace

std::vector<std::string> unread_tensors(const ModelConfig& config, const Checkpoint& checkpoint,
                                        const std::vector<bool>& has_indexer) {
  const Names read = names_read(config, checkpoint, has_indexer);
  std::vector<std::string> unread;
  for (const std::string& name : checkpoint.names()) {
    if (read.contains(name) || is_irrelevant(name, config)) continue;
    refuse_companion(checkpoint, name, read);
    unread.push_back(name);
  }
  return unread;
}

}  // namespace indexcache
