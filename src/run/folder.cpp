// SPDX-License-Identifier: Apache-2.0
#include "run/folder.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kRemedy = "choose another --output";

[[noreturn]] void fail(const std::filesystem::path& folder, const std::string& why) {
  throw InputError({"the output folder cannot be used", folder.string(), why, kRemedy});
}

}  // namespace

void make_folder(const std::filesystem::path& folder, const std::string& option) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw InputError({"the output folder cannot be used", folder.string(), error.message(),
                      "choose another " + option});
  }
}

void prepare_folder(const std::filesystem::path& folder,
                    const std::initializer_list<const char*>& own_files) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error || !std::filesystem::is_directory(folder)) {
    fail(folder, error ? error.message() : "it is not a folder");
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) fail(folder, std::strerror(errno));
  if (std::filesystem::is_empty(folder)) return;
  const bool own = std::ranges::any_of(
      own_files, [&](const char* name) { return std::filesystem::exists(folder / name); });
  if (!own) fail(folder, "it holds files that this tool did not write");
}

}  // namespace indexcache
