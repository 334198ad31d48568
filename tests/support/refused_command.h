// SPDX-License-Identifier: Apache-2.0
// A command that is refused: its exit code, one error, and nothing on standard output.
#pragma once

#include "support/catch.h"
#include "support/process.h"

#include <string>
#include <vector>

namespace indexcache::test {

// `what` is part of the message.
inline void check_refused(const std::vector<std::string>& arguments, int code,
                          const std::string& what) {
  const ProcessResult result = run_tool(arguments);
  INFO(result.err);
  CHECK(result.code == code);
  CHECK_THAT(result.err, Contains("error: ") && Contains(what));
  CHECK(result.out.empty());
}

}  // namespace indexcache::test
