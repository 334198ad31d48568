// SPDX-License-Identifier: Apache-2.0
#include "core/shell_quote.h"

#include "support/catch.h"

#include <array>
#include <cstdio>

using namespace indexcache;

TEST_CASE("words stay as they are, and everything else is quoted") {
  CHECK(shell_quoted("runs/glm-5_a.b") == "runs/glm-5_a.b");
  CHECK(shell_quoted("Läufe/日本") == "Läufe/日本");
  CHECK(shell_quoted("my run (1)") == "'my run (1)'");
  CHECK(shell_quoted("") == "''");
}

TEST_CASE("a shell reads back what was quoted") {
  for (const std::string text : {"a b", "it's", "$HOME `x` \\ \"y\"", "~/x", "a;b&c|d>e", "*?[x]",
                                 "line\nbreak", "!x", "#x", "'"}) {
    std::FILE* shell = popen(("printf %s " + shell_quoted(text)).c_str(), "r");
    REQUIRE(shell != nullptr);
    std::array<char, 100> read{};
    const std::size_t count = std::fread(read.data(), 1, read.size(), shell);
    pclose(shell);
    CHECK(std::string(read.data(), count) == text);
  }
}
