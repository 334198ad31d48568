// SPDX-License-Identifier: Apache-2.0
#include "io/weight_files.h"

#include "core/error.h"
#include "io/system_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <regex>
#include <set>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOriginal = "use the safetensors checkpoint that it was converted from";
constexpr const char* kConvert =
    "download the safetensors version, or convert it with transformers (save_pretrained)";
constexpr const char* kDownload = "run the download again: it continues with what is missing";

struct OtherForm {
  const char* ending;
  const char* name;
  const char* remedy;
};

// Of several forms in a folder the first one is reported.
constexpr OtherForm kForms[] = {
    {".incomplete", "an unfinished download", kDownload},
    {".part", "an unfinished download", kDownload},
    {".aria2", "an unfinished download", kDownload},
    {".crdownload", "an unfinished download", kDownload},
    {".gguf", "GGUF", kOriginal},
    {"adapter_model.safetensors", "a LoRA adapter",
     "merge the adapter into its base model, or use the base model"},
    {"adapter_model.bin", "a LoRA adapter",
     "merge the adapter into its base model, or use the base model"},
    {".bin", "PyTorch", kConvert},
    {".pt", "PyTorch", kConvert},
    {".pth", "PyTorch", kConvert},
    {".distcp", "a distributed PyTorch checkpoint", kConvert},
    {".npz", "NumPy or MLX", kOriginal},
    {".onnx", "ONNX", kOriginal},
    {".msgpack", "Flax", kConvert},
    {".safetensors", "under a name that no loader expects",
     "call a single file model.safetensors, or add the index of several"},
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Names of files and links, sorted, and those that `hf download --local-dir` has not finished.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::path& place : {folder, folder / ".cache/huggingface/download"}) {
    const fs::directory_iterator entries(place, error);
    if (error && place == folder) fail_opening(folder, error.value(), "check the path");
    for (const fs::directory_entry& entry : entries) {
      const std::string name = entry.path().filename().string();
      if (place != folder && !name.ends_with(".incomplete")) continue;
      if (name.front() != '.' && !entry.is_directory(error)) names.push_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

void describe_others(const std::vector<std::string>& names, WeightFiles& files) {
  for (const OtherForm& form : kForms) {
    const auto matches = [&](const std::string& name) {
      return lower(name).ends_with(form.ending) && name != "training_args.bin";
    };
    const auto first = std::ranges::find_if(names, matches);
    if (first == names.end()) continue;
    const auto more = std::ranges::count_if(names, matches) - 1;
    files.others = fmt::format("it contains {} ({}){}", first->substr(0, 60), form.name,
                               more > 0 ? fmt::format(", and {} more", more) : "");
    files.remedy = form.remedy;
    return;
  }
}

// Without an index only the names say how many shards there should be.
void check_numbering(const fs::path& folder, const std::vector<std::string>& shards) {
  static const std::regex numbered(".*-([0-9]{1,8})-of-([0-9]{1,8})\\.safetensors");
  std::set<std::size_t> numbers;
  std::size_t total = 0;
  for (const std::string& shard : shards) {
    std::smatch match;
    if (!std::regex_match(shard, match, numbered)) return;
    numbers.insert(std::stoul(match[1]));
    total = std::max<std::size_t>(total, std::stoul(match[2]));
  }
  if (numbers.size() >= total) return;
  throw InputError({"shards are missing", folder.string(),
                    fmt::format("{} exists, but {} of {} shards and {} do not", shards.front(),
                                total - numbers.size(), total, kShardIndexName),
                    kDownload});
}

}  // namespace

bool is_weight_file(const std::string& name) {
  std::string held = lower(name);
  constexpr std::string_view kIndex = ".index.json";
  if (held.ends_with(kIndex)) held.resize(held.size() - kIndex.size());
  return std::ranges::any_of(kForms,
                             [&](const OtherForm& form) { return held.ends_with(form.ending); });
}

WeightFiles find_weight_files(const fs::path& folder) {
  WeightFiles files;
  const std::vector<std::string> names = names_in(folder);
  describe_others(names, files);
  files.has_index = std::ranges::binary_search(names, kShardIndexName);
  if (files.has_index) return files;
  if (std::ranges::binary_search(names, "model.safetensors")) {
    files.shards = {"model.safetensors"};
    return files;
  }
  // Mistral's form of the same weights may be next to them.
  for (const char* beginning : {"model", "consolidated"}) {
    for (const std::string& name : names) {
      const bool shard = name.starts_with(beginning) && name.ends_with(".safetensors");
      if (shard) files.shards.push_back(name);
    }
    if (!files.shards.empty()) break;
  }
  check_numbering(folder, files.shards);
  return files;
}

}  // namespace indexcache
