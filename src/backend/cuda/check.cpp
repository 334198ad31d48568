// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/check.h"

#include "core/error.h"

#include <fmt/format.h>

#include <filesystem>

namespace indexcache::cuda {
namespace {

[[noreturn]] void fail_with(const std::string& error, const char* expression, const char* file,
                            int line) {
  const std::string place =
      fmt::format("{}:{}", std::filesystem::path(file).filename().string(), line);
  throw ResourceError({fmt::format("the GPU failed: {}", error), place, expression,
                       "the same command again: a run continues after its last finished wave; if "
                       "it fails again, report it with the command line"});
}

}  // namespace

void fail(cudaError_t status, const char* expression, const char* file, int line) {
  fail_with(fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status)),
            expression, file, line);
}

void fail(cublasStatus_t status, const char* expression, const char* file, int line) {
  fail_with(fmt::format("cuBLASLt: {}", cublasLtGetStatusString(status)), expression, file, line);
}

}  // namespace indexcache::cuda
