// SPDX-License-Identifier: Apache-2.0
#include "calibration/source_files.h"

#include "core/error.h"
#include "core/interrupt.h"

#include <fmt/format.h>

#include <algorithm>
#include <glob.h>
#include <set>
#include <sys/stat.h>
#include <utility>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_source(
    const std::string& input, const std::string& why,
    const std::string& remedy =
        "a .txt, .jsonl, .json, .h5 or .npy file (also .gz or .zst), a folder of "
        "them, or a glob in quotes") {
  throw InputError({"nothing to read", input, why, remedy});
}

// What systems leave next to data: ".git", "._x" of macOS, ".ipynb_checkpoints".
bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(".") || name == "__MACOSX";
}

// All files below a folder, each folder once.
class FolderWalk {
 public:
  explicit FolderWalk(const fs::path& folder) {
    visit(folder);
    // After the folders themselves, so that files are found by their real paths.
    while (!links_.empty()) {
      const std::vector<fs::path> links = std::exchange(links_, {});
      for (const fs::path& link : links) follow(link);
    }
    std::ranges::sort(files_);
  }

  const std::vector<fs::path>& files() const { return files_; }
  std::size_t hidden() const { return hidden_; }

 private:
  void visit(const fs::path& folder) {
    check_interrupt();
    struct stat about {};
    if (stat(folder.c_str(), &about) != 0 || !seen_.emplace(about.st_dev, about.st_ino).second) {
      return;
    }
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(folder)) {
      std::error_code unreadable;
      const fs::file_status status = entry.status(unreadable);  // of a link, what it leads to
      if (is_hidden(entry.path())) {
        ++hidden_;
      } else if (fs::is_regular_file(status)) {
        files_.push_back(entry.path());
      } else if (fs::is_directory(status)) {
        (entry.is_symlink() ? links_ : folders).push_back(entry.path());
      }
    }
    std::ranges::sort(folders);
    for (const fs::path& inner : folders) visit(inner);
    std::ranges::sort(links_);
  }

  // A link to a folder that contains it would lead out of the folder that was named.
  void follow(const fs::path& link) {
    const fs::path target = fs::canonical(link);
    const fs::path from = fs::canonical(link.parent_path());
    const auto [end, unused] =
        std::mismatch(target.begin(), target.end(), from.begin(), from.end());
    if (end != target.end()) visit(link);
  }

  std::set<std::pair<dev_t, ino_t>> seen_;
  std::vector<fs::path> links_;
  std::vector<fs::path> files_;
  std::size_t hidden_ = 0;
};

std::vector<fs::path> matches_of(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);  // sorted by glob
  }
  globfree(&found);
  return paths;
}

// A file is read twice, for its documents and for its checksum, and a command must not wait for a
// writer that may never come.
void require_file(const fs::path& path) {
  const fs::file_type type = fs::status(path).type();
  if (type == fs::file_type::regular) return;
  const char* what = type == fs::file_type::fifo     ? "a pipe"
                     : type == fs::file_type::socket ? "a socket"
                                                     : "not a file";
  throw InputError({"the input cannot be read twice", path.string(), fmt::format("it is {}", what),
                    "write the data to a file first, for example with `COMMAND > data.jsonl`"});
}

void add_folder(SourceFiles& result, const fs::path& folder, std::size_t source,
                std::optional<FileKind> format) {
  const FolderWalk walk(folder);
  result.hidden += walk.hidden();
  for (const fs::path& path : walk.files()) {
    if (const auto kind = format ? format : known_kind(path, Named::in_folder)) {
      result.files.push_back({path, *kind, source});
    } else {
      ++result.passed_over;
      ++result.other_kinds[ending_of(path)];
    }
  }
}

// A folder without a file that is read.
[[noreturn]] void refuse_folder(const SourceFiles& found, const std::string& input) {
  std::string kinds;
  std::string conversion;
  for (const auto& [ending, count] : found.other_kinds) {
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count,
                         ending.empty() ? "without an extension" : ending);
    if (conversion.empty()) conversion = conversion_of(ending);
  }
  if (kinds.empty()) refuse_source(input, "the folder contains no supported files");
  if (!conversion.empty())
    refuse_source(input, "the folder contains only unsupported files: " + kinds, conversion);
  refuse_source(
      input, "the folder contains only unsupported files: " + kinds,
      "a glob in quotes that names them, such as 'FOLDER/*.md', or --format txt, jsonl or json");
}

void add_input(SourceFiles& result, const std::string& input, std::size_t source,
               std::optional<FileKind> format) {
  if (input == "-") {
    throw InputError({"standard input is not supported", input, "",
                      "write the data to a file first, for example with `COMMAND > data.jsonl`"});
  }
  const std::size_t before = result.files.size();
  const bool exists = fs::exists(input);
  for (const fs::path& path : exists ? std::vector<fs::path>{input} : matches_of(input)) {
    if (fs::is_directory(path)) {
      add_folder(result, path, source, format);
      continue;
    }
    require_file(path);
    result.files.push_back({path, format ? *format : kind_of(path), source});
  }
  if (result.files.size() > before) return;
  if (exists) refuse_folder(result, input);
  const bool wild = input.find_first_of("*?[") != std::string::npos;
  refuse_source(input, wild ? "no file matches" : "it does not exist");
}

}  // namespace

SourceFiles find_source_files(const std::vector<std::string>& inputs,
                              std::optional<FileKind> format) {
  SourceFiles result;
  try {
    for (std::size_t source = 0; source < inputs.size(); ++source) {
      add_input(result, inputs[source], source, format);
    }
  } catch (const fs::filesystem_error& error) {
    refuse_source(error.path1().string(), error.code().message());
  }
  return result;
}

}  // namespace indexcache
