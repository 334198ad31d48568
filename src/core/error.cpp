// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <utility>

namespace indexcache {

Error::Error(ExitCode code, Problem problem)
    : std::runtime_error(problem.what), code_(code), problem_(std::move(problem)) {}

std::string Error::describe() const {
  std::string text = "error: " + problem_.what + "\n";
  if (!problem_.where.empty()) text += "  at:  " + problem_.where + "\n";
  if (!problem_.why.empty()) text += "  why: " + problem_.why + "\n";
  if (!problem_.remedy.empty()) text += "  try: " + problem_.remedy + "\n";
  return text;
}

}  // namespace indexcache
