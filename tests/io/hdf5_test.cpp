// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"

#include <chrono>
#include <thread>

using namespace indexcache;
using namespace indexcache::test;

namespace {

void write_example(const std::filesystem::path& path) {
  Hdf5Writer file(path);
  file.attribute("name", "value");
  file.write("tokens", {2, 2}, std::vector<std::int64_t>{1, 2, 3, 4});
  file.write("group/values", {2}, std::vector<double>{0.5, 0.25});
  file.close();
}

}  // namespace

TEST_CASE("integers are read back") {
  const TempFolder folder;
  write_example(folder / "x.h5");
  const Hdf5Reader file(folder / "x.h5");
  CHECK(file.contains("/tokens"));
  CHECK_FALSE(file.contains("/lengths"));
  const IntegerDataset tokens = file.integers("/tokens");
  CHECK(tokens.shape == std::vector<std::int64_t>{2, 2});
  CHECK(tokens.values == std::vector<std::int64_t>{1, 2, 3, 4});
  CHECK_THROWS_AS(file.integers("/lengths"), InputError);
  CHECK_THROWS_AS(file.integers("/group/values"), InputError);
}

TEST_CASE("equal content gives equal bytes at another time") {
  const TempFolder folder;
  write_example(folder / "a.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5 stamps whole seconds
  write_example(folder / "b.h5");
  CHECK(read_file(folder / "a.h5") == read_file(folder / "b.h5"));
}

TEST_CASE("a missing, foreign or truncated file is refused") {
  const TempFolder folder;
  CHECK_THROWS_AS(Hdf5Reader(folder / "missing.h5"), InputError);
  write_text(folder / "text.h5", "not HDF5");
  CHECK_THROWS_AS(Hdf5Reader(folder / "text.h5"), InputError);
  write_example(folder / "x.h5");
  std::filesystem::resize_file(folder / "x.h5", 1000);
  CHECK_THROWS_AS(Hdf5Reader(folder / "x.h5"), InputError);
}
