// SPDX-License-Identifier: Apache-2.0
// A verdict in the words of those who read it: people, scripts, CI servers and GitHub.
#pragma once

#include "gate/verdict.h"
#include "io/json.h"

#include <string>

namespace indexcache {

// verdict.json (indexcache-verdict/1). Equal inputs give equal bytes.
Json verdict_json(const Verdict& verdict);

// One line per guard, and the verdict.
std::string verdict_table(const Verdict& verdict);

// JUnit XML: one test suite, one test case per guard, hashes as properties. Characters that XML 1.0
// cannot hold, and bytes that are not UTF-8, become U+FFFD.
std::string verdict_junit(const Verdict& verdict);

// GitHub workflow commands: an ::error per failed guard, at its line of the gate file.
std::string verdict_annotations(const Verdict& verdict);

// A Markdown table for a step summary or a pull request.
std::string verdict_markdown(const Verdict& verdict);

}  // namespace indexcache
