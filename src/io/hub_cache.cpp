// SPDX-License-Identifier: Apache-2.0
#include "io/hub_cache.h"

#include "core/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <regex>
#include <vector>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEntryPrefix = "models--";
constexpr const char* kNeeded =
    "a Hugging Face folder with config.json and safetensors files is needed";

// models--ORG--NAME is ORG/NAME; nullopt for other names.
std::optional<std::string> repository_of(const std::string& entry) {
  if (!entry.starts_with(kEntryPrefix)) return std::nullopt;
  std::string name = entry.substr(kEntryPrefix.size());
  const std::size_t dashes = name.find("--");
  return dashes == name.npos ? name : name.replace(dashes, 2, "/");
}

// Links in between are followed, so that a link to a snapshot has its name, too.
fs::path real_path(const fs::path& folder) {
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  return error ? folder : real;
}

std::optional<std::string> repository_of_snapshot(const fs::path& real) {
  if (real.parent_path().filename() != "snapshots") return std::nullopt;
  return repository_of(real.parent_path().parent_path().filename().string());
}

std::vector<fs::path> cache_folders() {
  const auto variable = [](const char* name) -> std::optional<fs::path> {
    const char* value = std::getenv(name);
    return value == nullptr || *value == '\0' ? std::nullopt : std::optional<fs::path>(value);
  };
  std::vector<fs::path> folders;
  if (const auto hub = variable("HF_HUB_CACHE")) folders.push_back(*hub);
  if (const auto hf = variable("HF_HOME")) folders.push_back(*hf / "hub");
  if (const auto xdg = variable("XDG_CACHE_HOME")) folders.push_back(*xdg / "huggingface/hub");
  if (const auto home = variable("HOME")) folders.push_back(*home / ".cache/huggingface/hub");
  return folders;
}

[[noreturn]] void fail_missing(const fs::path& given) {
  const std::string text = given.string();
  constexpr const char* kWhat = "the model folder does not exist";
  std::error_code error;
  if (fs::is_regular_file(given, error)) {
    throw InputError({"the model is not a folder", text, kNeeded,
                      "the folder of that file: " + fs::absolute(given).parent_path().string()});
  }
  static const std::regex repository("[A-Za-z0-9][\\w.-]*/[A-Za-z0-9][\\w.-]*");
  if (!std::regex_match(text, repository))
    throw InputError({kWhat, text, kNeeded, "check the path"});
  std::string entry = "models--" + text;
  entry.replace(entry.find('/'), 1, "--");
  for (const fs::path& cache : cache_folders()) {
    if (!fs::is_directory(cache / entry, error)) continue;
    throw InputError({kWhat, text, "models are not looked up by name; this one is in the cache",
                      (cache / entry).string()});
  }
  throw InputError({kWhat, text,
                    "it looks like a repository of the Hugging Face Hub; nothing is downloaded "
                    "here",
                    fmt::format("hf download {} --local-dir {}, then that folder", text,
                                given.filename().string())});
}

std::string first_word_of(const fs::path& file) {
  std::ifstream in(file);
  std::string word;
  in >> word;
  return word;
}

fs::path chosen_snapshot(const fs::path& entry) {
  const fs::path snapshots = entry / "snapshots";
  const std::string main = first_word_of(entry / "refs" / "main");
  std::error_code error;
  if (!main.empty() && main.find('/') == main.npos && fs::is_directory(snapshots / main, error)) {
    return snapshots / main;
  }
  std::vector<std::string> found;
  for (const fs::directory_entry& folder : fs::directory_iterator(snapshots, error)) {
    if (folder.is_directory(error)) found.push_back(folder.path().string());
  }
  if (found.size() == 1) return found.front();
  std::ranges::sort(found);
  if (found.empty()) {
    throw InputError({"the cache entry has no snapshot", entry.string(),
                      "the download is incomplete",
                      "run the download again: it continues with what is missing"});
  }
  found.resize(std::min<std::size_t>(found.size(), 4));
  throw InputError({"the cache entry has several snapshots", entry.string(),
                    "refs/main names none of them", fmt::format("{}", fmt::join(found, " or "))});
}

}  // namespace

std::string model_name(const fs::path& folder) {
  const fs::path real = real_path(folder);
  return repository_of_snapshot(real).value_or(real.filename().string());
}

std::string model_revision(const fs::path& folder) {
  const fs::path real = real_path(folder);
  return repository_of_snapshot(real) ? real.filename().string() : "";
}

fs::path model_folder(const fs::path& given) {
  std::error_code error;
  if (!fs::is_directory(given, error)) fail_missing(given);
  if (fs::exists(fs::symlink_status(given / "config.json", error))) return given;
  if (fs::is_directory(given / "snapshots", error)) return chosen_snapshot(given);
  const fs::path real = real_path(given);
  const bool snapshots = real.filename() == "snapshots" &&
                         repository_of(real.parent_path().filename().string()).has_value();
  return snapshots ? chosen_snapshot(real.parent_path()) : given;
}

}  // namespace indexcache
