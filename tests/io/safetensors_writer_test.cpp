// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.h"

#include "core/error.h"
#include "io/files.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <cstring>

using namespace indexcache;
using namespace indexcache::test;

namespace {

TensorSource source(const std::string& name, const std::string& type,
                    const std::vector<std::int64_t>& shape, const std::string& bytes) {
  return {name, type, shape, static_cast<std::int64_t>(bytes.size()),
          [bytes](std::int64_t first, std::span<std::byte> out) {
            std::memcpy(out.data(), bytes.data() + first, out.size());
          }};
}

std::vector<TensorSource> some_tensors() {
  return {source("z", "F32", {2, 1}, bytes_of({1, -2})), source("a \"b\"", "U8", {3}, "xyz"),
          source("empty", "BF16", {0, 4}, "")};
}

std::size_t files_in(const TempFolder& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

}  // namespace

TEST_CASE("a written file has the tensors, in their order, and the metadata") {
  const TempFolder folder;
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"steps", "1000"}, {"name", "\xc3\xa9"}};
  write_safetensors(folder / "x.safetensors", some_tensors(), metadata);
  const SafetensorsFile file(folder / "x.safetensors");
  CHECK(file.metadata() == metadata);
  CHECK(file.file_bytes() == safetensors_bytes(some_tensors(), metadata));
  REQUIRE(file.tensors().size() == 3);
  const RawTensor& z = file.tensors().at("z");
  CHECK(z.dtype == DType::f32);
  CHECK(z.shape == std::vector<std::int64_t>{2, 1});
  CHECK(z.offset % 8 == 0);
  CHECK(file.tensors().at("a \"b\"").offset == z.offset + 8);
  const std::vector<StoredTensor> tensors = read_safetensors(folder / "x.safetensors");
  CHECK(tensors[0].bytes == "xyz");
  CHECK(tensors[1].bytes.empty());
  CHECK(tensors[2].bytes == bytes_of({1, -2}));
  CHECK(files_in(folder) == 1);
}

TEST_CASE("equal tensors give equal bytes, and data begins at a multiple of 8") {
  for (std::size_t length = 1; length < 10; ++length) {
    const TempFolder folder;
    const std::vector<TensorSource> tensors = {
        source(std::string(length, 'n'), "F32", {1}, bytes_of({3}))};
    write_safetensors(folder / "a", tensors, {});
    write_safetensors(folder / "b", tensors, {});
    CHECK(read_file(folder / "a") == read_file(folder / "b"));
    CHECK(SafetensorsFile(folder / "a").tensors().begin()->second.offset % 8 == 0);
    CHECK(SafetensorsFile(folder / "a").metadata().empty());
  }
}

TEST_CASE("large tensors are written in pieces") {
  const TempFolder folder;
  const std::int64_t bytes = (std::int64_t{9} << 20) + 5;
  std::size_t largest = 0;
  const TensorSource tensor{
      "t", "U8", {bytes}, bytes, [&](std::int64_t first, std::span<std::byte> out) {
        largest = std::max(largest, out.size());
        for (std::size_t i = 0; i < out.size(); ++i) {
          out[i] = static_cast<std::byte>((first + static_cast<std::int64_t>(i)) % 251);
        }
      }};
  write_safetensors(folder / "x", {tensor}, {});
  CHECK(largest < 5u << 20);
  const SafetensorsFile file(folder / "x");
  const std::vector<std::byte> read = file.read(file.tensors().at("t"));
  bool equal = static_cast<std::int64_t>(read.size()) == bytes;
  for (std::size_t i = 0; i < read.size(); ++i) equal &= read[i] == static_cast<std::byte>(i % 251);
  CHECK(equal);
}

TEST_CASE("a source that cannot be read leaves the old file") {
  const TempFolder folder;
  write_text(folder / "x", "old");
  TensorSource broken = source("t", "U8", {1}, "x");
  broken.read = [](std::int64_t, std::span<std::byte>) {
    throw ResourceError({"cannot read a file", "", "", ""});
  };
  CHECK_THROWS_AS(write_safetensors(folder / "x", {broken}, {}), ResourceError);
  CHECK(read_file(folder / "x") == "old");
  CHECK(files_in(folder) == 1);
  CHECK_THAT(refusal_of([&] { write_safetensors(folder / "no/x", some_tensors(), {}); }),
             Contains("cannot write a file") && Contains("no/x\n"));
}

TEST_CASE("a copy has the bytes of its source") {
  const TempFolder folder;
  const std::string bytes = std::string(5 << 20, 'x') + "end";
  write_text(folder / "a", bytes);
  write_copy(folder / "a", folder / "b");
  CHECK(read_file(folder / "b") == bytes);
  CHECK_THROWS_AS(write_copy(folder / "none", folder / "c"), InputError);
  CHECK(files_in(folder) == 2);
}

TEST_CASE("metadata that is not strings is kept as JSON") {
  const TempFolder folder;
  const std::string header = R"({"__metadata__":{"a":"b","n":3}})";
  write_raw_safetensors(folder / "x", header.size(), header, "");
  CHECK(SafetensorsFile(folder / "x").metadata() == SafetensorsMetadata{{"a", "b"}, {"n", "3"}});
}
