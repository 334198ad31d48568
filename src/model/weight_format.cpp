// SPDX-License-Identifier: Apache-2.0
#include "model/weight_format.h"

#include "model/config_reader.h"
#include "model/dequantize.h"

#include <fmt/format.h>

#include <map>
#include <optional>

namespace indexcache {
namespace {

std::optional<std::string> text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>().substr(0, 40);
}

std::optional<std::int64_t> bits_of(const Json& object) {
  for (const char* key : {"bits", "num_bits", "w_bit"}) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number_integer()) return found->get<std::int64_t>();
  }
  if (object.value("load_in_4bit", Json()) == true) return 4;
  if (object.value("load_in_8bit", Json()) == true) return 8;
  return std::nullopt;
}

// compressed-tensors states its types in groups; the first one speaks for all.
std::string type_of_groups(const Json& quantization) {
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object() || groups->empty()) return "";
  const Json& group = groups->front();
  const auto weights = group.is_object() ? group.find("weights") : group.end();
  if (!group.is_object() || weights == group.end() || !weights->is_object()) return "";
  const auto bits = bits_of(*weights);
  if (!bits) return "";
  return fmt::format(", {}-bit {}", *bits, text_of(*weights, "type").value_or("numbers"));
}

std::string title_of(const std::string& method) {
  static const std::map<std::string, std::string> titles = {
      {"awq", "AWQ"},           {"gptq", "GPTQ"},
      {"modelopt", "ModelOpt"}, {"modelopt_fp4", "ModelOpt"},
      {"mxfp4", "MXFP4"},       {"mxfp8", "MXFP8"},
      {"w4afp8", "W4AFP8"},     {"gguf", "GGUF"},
  };
  const auto found = titles.find(method);
  return found == titles.end() ? method : found->second;
}

}  // namespace

UnreadFormat::UnreadFormat(const std::string& format, const std::string& where)
    : InputError({"the weight format is not supported", where,
                  format + "; supported are BF16, F16, F32 and block-wise FP8 (F8_E4M3 with "
                           "weight_scale_inv)",
                  "search on the checkpoint that this one was made from: the pattern is valid "
                  "here, too, and export --model writes it into this one"}) {}

std::string unread_quantization(const Json& q) {
  if (!q.is_object()) return "quantization_config is not an object";
  const std::string method = text_of(q, "quant_method").value_or("fp8");
  if (method == "fp8") return "";
  std::string details;
  if (const auto format = text_of(q, "format")) details += ", " + *format;
  if (const auto algorithm = text_of(q, "quant_algo")) details += ", " + *algorithm;
  if (const auto bits = bits_of(q)) details += fmt::format(", {}-bit", *bits);
  details += type_of_groups(q);
  return title_of(method) + (details.empty() ? "" : fmt::format(" ({})", details.substr(2)));
}

std::string unread_storage(const Family& family, const Checkpoint& checkpoint,
                           const TensorSpec& spec) {
  const std::string& weight = spec.name;
  const std::string base =
      weight.ends_with(".weight") ? weight.substr(0, weight.size() - 7) : weight;
  const auto has = [&](const char* ending) { return checkpoint.contains(base + ending); };
  if (has(".qweight")) return "AWQ or GPTQ (qweight)";
  if (has(".weight_packed")) return "compressed-tensors (weight_packed)";
  if (has("_blocks") || has(".weight_blocks")) return "MXFP4 (blocks and scales)";
  if (has(".weight.absmax") || has(".weight.SCB") || has(".SCB")) return "bitsandbytes";
  if (has(".weight_scale_2")) return "NVFP4 (weight_scale_2)";
  const RawTensor* tensor = checkpoint.find(weight);
  if (tensor == nullptr || spec.table) return "";
  std::string type(tensor->type());
  if (type == "I8" && !spec.packed) return "int8 (I8)";
  if (type == "F8_E5M2" || type == "F64" || type.starts_with("F4") || type.starts_with("F6")) {
    return type;
  }
  if (type == "U8") return has(".weight_scale") ? "MXFP4 or NVFP4 (U8)" : "packed numbers (U8)";
  if (type == "I32") return "packed numbers (I32)";
  const bool fp8 =
      tensor->dtype == DType::f8_e4m3 && !checkpoint.contains(scale_name(family, weight));
  if (fp8 && has(".weight_scale")) return "FP8 with weight_scale (compressed-tensors, ModelOpt)";
  return "";
}

}  // namespace indexcache
