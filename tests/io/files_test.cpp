// SPDX-License-Identifier: Apache-2.0
#include "io/files.h"

#include "core/error.h"
#include "io/mapped_file.h"
#include "support/catch.h"
#include "support/files.h"

#include <stdexcept>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("SHA-256 of the standard's example") {
  CHECK(sha256(std::string_view("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("a file is replaced whole, or not at all") {
  const TempFolder folder;
  write_file(folder / "x", "old");
  CHECK(read_file(folder / "x") == "old");
  const auto failing = [](const std::filesystem::path& temporary) {
    write_text(temporary, "half");
    throw std::runtime_error("stopped");
  };
  CHECK_THROWS(replace_file(folder / "x", failing));
  CHECK(read_file(folder / "x") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  write_file(folder / "x", "new");
  CHECK(read_file(folder / "x") == "new");
}

TEST_CASE("what cannot be read or written is named") {
  const TempFolder folder;
  CHECK_THROWS_AS(read_file(folder / "missing"), InputError);
  CHECK_THROWS_AS(MappedFile(folder.path()), InputError);
  CHECK_THROWS_AS(write_file(folder / "no/such/folder", "x"), ResourceError);
}
