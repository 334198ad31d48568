// SPDX-License-Identifier: Apache-2.0
#include "calibration/source_files.h"

#include "core/error.h"
#include "io/byte_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <glob.h>
#include <optional>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

std::optional<FileKind> known_kind(const fs::path& path) {
  const std::string extension = without_packing(path).extension().string();
  if (extension == ".txt") return FileKind::text;
  if (extension == ".jsonl") return FileKind::jsonl;
  const bool packed = without_packing(path) != path;
  if (!packed && (extension == ".h5" || extension == ".hdf5")) return FileKind::hdf5;
  if (extension == ".npy") return FileKind::npy;
  return std::nullopt;
}

[[noreturn]] void fail(const std::string& input, const std::string& why) {
  throw InputError({"there is nothing to read", input, why,
                    "a .txt, .jsonl, .h5 or .npy file (.txt, .jsonl and .npy also .gz or .zst), a "
                    "folder of them, or a glob in quotes"});
}

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(folder, options)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

std::vector<fs::path> matches_of(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);  // sorted by glob
  }
  globfree(&found);
  return paths;
}

}  // namespace

FileKind kind_of(const fs::path& path) {
  if (const auto kind = known_kind(path)) return *kind;
  fail(path.string(), fmt::format("the file type \"{}\" is not known", path.extension().string()));
}

namespace {

SourceFiles find_all(const std::vector<std::string>& inputs) {
  SourceFiles result;
  for (std::size_t source = 0; source < inputs.size(); ++source) {
    const std::string& input = inputs[source];
    const std::size_t before = result.files.size();
    const bool exists = fs::exists(input);
    for (const fs::path& path : exists ? std::vector<fs::path>{input} : matches_of(input)) {
      if (!fs::is_directory(path)) {
        result.files.push_back({path, kind_of(path), source});
        continue;
      }
      for (const fs::path& inner : files_below(path)) {
        if (const auto kind = known_kind(inner)) {
          result.files.push_back({inner, *kind, source});
        } else {
          ++result.passed_over;
        }
      }
    }
    if (result.files.size() > before) continue;
    const bool wild = input.find_first_of("*?[") != std::string::npos;
    fail(input, exists ? "the folder holds no file of a kind that is read"
                : wild ? "no file matches"
                       : "it does not exist");
  }
  return result;
}

}  // namespace

SourceFiles find_source_files(const std::vector<std::string>& inputs) {
  try {
    return find_all(inputs);
  } catch (const fs::filesystem_error& error) {
    fail(error.path1().string(), error.code().message());
  }
}

}  // namespace indexcache
