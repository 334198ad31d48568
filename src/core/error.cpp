// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include "core/quote.h"

#include <utility>

namespace indexcache {
namespace {

// Bytes of each part. Those who quote do so with core/quote.h; this holds for texts of libraries
// and for what nobody thought of, because a message may go to a log.
Problem bounded(Problem problem) {
  problem.what = indexcache::bounded(std::move(problem.what), 300);
  problem.where = indexcache::bounded(std::move(problem.where), 1000);
  problem.why = indexcache::bounded(std::move(problem.why), 700);
  problem.remedy = indexcache::bounded(std::move(problem.remedy), 1000);
  return problem;
}

}  // namespace

Error::Error(ExitCode code, Problem problem)
    : std::runtime_error(indexcache::bounded(problem.what, 300)),
      code_(code),
      problem_(bounded(std::move(problem))) {}

std::string Error::describe() const {
  std::string text = "error: " + problem_.what + "\n";
  if (!problem_.where.empty()) text += "  at:  " + problem_.where + "\n";
  if (!problem_.why.empty()) text += "  why: " + problem_.why + "\n";
  if (!problem_.remedy.empty()) text += "  try: " + problem_.remedy + "\n";
  return text;
}

}  // namespace indexcache
