// SPDX-License-Identifier: Apache-2.0
#include "io/system_failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace indexcache {

std::optional<std::string> resource_remedy(int error, const std::string& elsewhere) {
  switch (error) {
    case EMFILE:
      return "ulimit -n 4096 (or ask for a higher hard limit): this process may not open more "
             "files";
    case ENFILE:
      return "close other programs, or raise fs.file-max: the system cannot open more files";
    case ENOMEM:
      return "free memory on this machine, or raise the limit of its container";
    case ENOSPC:
      return "free space on that disk, or " + elsewhere;
    case EDQUOT:
      return "free space in your disk quota there, or " + elsewhere;
    case EFBIG:
      return "raise the limit on the size of files (ulimit -f), or " + elsewhere;
    case EROFS:
      return "mount that file system for writing, or " + elsewhere;
    case ESTALE:
    case ENOTCONN:
    case ETIMEDOUT:
      return "mount that network file system again";
    case EIO:
    case ENODEV:
    case EREMOTEIO:
      return "check that disk (dmesg has its errors)";
    default:
      return std::nullopt;
  }
}

Error unusable_path(const std::filesystem::path& path, int error) {
  const auto resource = resource_remedy(error);
  const std::string name = path.string();
  return {resource ? ExitCode::resource : ExitCode::input,
          {"cannot use a path", name.size() <= 200 ? name : name.substr(0, 197) + "...",
           std::strerror(error), resource.value_or("check the path and its permissions")}};
}

void fail_opening(const std::filesystem::path& path, int error, const std::string& remedy) {
  constexpr const char* kWhat = "cannot read a file";
  if (const auto resource = resource_remedy(error)) {
    throw ResourceError({kWhat, path.string(), std::strerror(error), *resource});
  }
  std::error_code unknown;
  const std::filesystem::path target = std::filesystem::read_symlink(path, unknown);
  if (error == ENOENT && !unknown) {
    throw InputError({kWhat, path.string(),
                      fmt::format("it is a link, and its target {} is missing: the download is "
                                  "incomplete",
                                  target.string()),
                      "run the download again: it continues with what is missing"});
  }
  throw InputError({kWhat, path.string(), std::strerror(error), remedy});
}

void fail_writing(const std::filesystem::path& path, int error) {
  const auto resource = resource_remedy(error);
  Problem problem{"cannot write a file", path.string(),
                  error != 0 ? std::strerror(error) : "the system gives no reason",
                  resource.value_or("check the path and its permissions")};
  if (resource || error == 0) throw ResourceError(std::move(problem));
  throw InputError(std::move(problem));
}

}  // namespace indexcache
