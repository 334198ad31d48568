// SPDX-License-Identifier: Apache-2.0
#include "io/files.h"

#include "core/error.h"
#include "io/random_access_file.h"
#include "support/catch.h"
#include "support/files.h"

#include <array>
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

TEST_CASE("whether a file can be written is checked without a trace") {
  const TempFolder folder;
  write_file(folder / "x", "old");
  require_writable(folder / "x");
  require_writable(folder / "new");
  CHECK(read_file(folder / "x") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  const std::string name = std::string(250, 'n');  // too long with what is added to it
  for (const std::filesystem::path& path :
       {folder.path(), folder / "x/y", folder / "no/y", folder / name}) {
    INFO(path);
    CHECK_THROWS_AS(require_writable(path), InputError);
    CHECK_THROWS_AS(write_file(path, "x"), InputError);
  }
}

TEST_CASE("what cannot be read or written is named") {
  const TempFolder folder;
  CHECK_THROWS_AS(read_file(folder / "missing"), InputError);
  CHECK_THROWS_AS(RandomAccessFile(folder.path()), InputError);
  CHECK_THROWS_AS(write_file(folder / "no/such/folder", "x"), InputError);
}

TEST_CASE("a file that shrinks while it is read is an error with the place") {
  const TempFolder folder;
  write_text(folder / "x", "0123456789");
  const RandomAccessFile file(folder / "x");
  CHECK(file.size() == 10);
  std::array<std::byte, 4> bytes{};
  file.read(6, bytes);
  CHECK(static_cast<char>(bytes[3]) == '9');
  std::filesystem::resize_file(folder / "x", 7);
  try {
    file.read(6, bytes);
    FAIL("nothing was noticed");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(), Contains("ends at byte 7 and had 10"));
  }
}
