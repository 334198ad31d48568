// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include "core/error.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstring>
#include <sys/stat.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Why a file of this header and data is refused.
std::string refusal(const std::string& header, const std::string& data,
                    std::uint64_t length = ~std::uint64_t{0}) {
  const TempFolder folder;
  write_raw_safetensors(folder / "x.safetensors", length + 1 == 0 ? header.size() : length, header,
                        data);
  try {
    const SafetensorsFile file(folder / "x.safetensors");
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

}  // namespace

TEST_CASE("a file is read back as written") {
  const TempFolder folder;
  const std::string floats = bytes_of({1, 2, 3, 4, 5, 6});
  write_safetensors(folder / "x.safetensors",
                    {{"a", "U8", {1}, "x"}, {"b", "F32", {2, 3}, floats}});
  const SafetensorsFile file(folder / "x.safetensors");
  const RawTensor& tensor = file.tensors().at("b");
  CHECK(tensor.dtype == DType::f32);
  CHECK(tensor.shape == std::vector<std::int64_t>{2, 3});
  const std::vector<std::byte> bytes = file.read(tensor);
  REQUIRE(bytes.size() == floats.size());
  CHECK(std::memcmp(bytes.data(), floats.data(), floats.size()) == 0);
  CHECK(file.header_sha256().size() == 64);
}

TEST_CASE("lying headers are refused with the reason") {
  const std::string four(4, '\0');
  CHECK(refusal(entry("F32", "[1]", "[0,4]"), four) == "accepted");
  CHECK_THAT(refusal("{}", "", 1'000'000'000), Contains("more than the format's"));
  CHECK_THAT(refusal("{}", "", 1000), Contains("looks truncated"));
  CHECK_THAT(refusal("{\"t\":", four), Contains("invalid JSON"));
  CHECK_THAT(refusal("[]", ""), Contains("not a JSON object"));
  CHECK_THAT(refusal(R"({"t":{"dtype":"F32"}})", four), Contains("lacks dtype"));
  CHECK_THAT(refusal(entry("F99", "[1]", "[4,0]"), four), Contains("do not span"));
  CHECK_THAT(refusal(entry("F32", "[2]", "[0,4]"), four), Contains("do not span the 8 bytes"));
  CHECK_THAT(refusal(entry("F32", "[1]", "[4,0]"), four), Contains("do not span"));
  CHECK_THAT(refusal(entry("F32", "[-1]", "[0,4]"), four), Contains("whole number"));
  CHECK_THAT(refusal(entry("F32", "[4611686018427387904,4]", "[0,4]"), four),
             Contains("too large"));
  CHECK_THAT(refusal(entry("F32", "[1]", "[4,8]"), four + four), Contains("gap"));
  CHECK_THAT(refusal(entry("F32", "[1]", "[0,4]"), "ab"), Contains("looks truncated"));
  CHECK_THAT(refusal(entry("F32", "[1]", "[0,4]"), four + "x"), Contains("the file has 5"));
  const std::string twice = R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                            R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  CHECK_THAT(refusal(twice, "x"), Contains("duplicate key"));
}

TEST_CASE("a file shorter than a header length is refused") {
  const TempFolder folder;
  write_text(folder / "x.safetensors", "abc");
  CHECK_THROWS_AS(SafetensorsFile(folder / "x.safetensors"), InputError);
  write_text(folder / "empty.safetensors", "");
  CHECK_THROWS_AS(SafetensorsFile(folder / "empty.safetensors"), InputError);
}

TEST_CASE("dtypes that nobody may need are kept by name") {
  const TempFolder folder;
  write_safetensors(folder / "x.safetensors",
                    {{"half", "F4", {3}, "ab"}, {"wide", "C64", {1}, "12345678"}});
  const SafetensorsFile file(folder / "x.safetensors");
  CHECK(file.tensors().at("half").type() == "F4");
  CHECK(file.tensors().at("half").bytes == 2);
  CHECK(file.tensors().at("wide").dtype == DType::other);
}

TEST_CASE("a file of another kind is called what it is") {
  const TempFolder folder;
  const auto refusal_of = [&](const std::string& content) -> std::string {
    write_text(folder / "x.safetensors", content);
    try {
      const SafetensorsFile file(folder / "x.safetensors");
      return "accepted";
    } catch (const InputError& error) {
      return error.describe();
    }
  };
  const std::string zeros(24, '\0');
  CHECK_THAT(refusal_of("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n"),
             Contains("the file is a Git LFS pointer, not a safetensors file") &&
                 Contains("git lfs pull"));
  CHECK_THAT(refusal_of("\xef\xbb\xbf\n<!DOCTYPE html>"), Contains("HTML") && Contains("hf auth"));
  CHECK_THAT(refusal_of("<?xml version=\"1.0\"?><Error>"), Contains("XML"));
  CHECK_THAT(refusal_of("\x1f\x8b\x08" + zeros), Contains("gzip-compressed"));
  CHECK_THAT(refusal_of("PK\x03\x04" + zeros), Contains("a zip archive") && Contains("PyTorch"));
  CHECK_THAT(refusal_of("\x80\x02\x8a\x0a" + zeros), Contains("a pickle"));
  CHECK_THAT(refusal_of("GGUF\x03" + zeros), Contains("a GGUF file") && Contains("converted from"));
  CHECK_THAT(refusal_of("/annex/objects/SHA256E-s5--x"), Contains("git annex get"));
  CHECK_THAT(refusal_of("Entry not found"), Contains("text that begins with \"Entry not found\""));
  CHECK_THAT(refusal_of(zeros), Contains("begins with zeros") && Contains("incomplete"));
}

TEST_CASE("a pipe or a folder in place of a file is refused at once") {
  const TempFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(SafetensorsFile(folder / "pipe"), Contains("cannot read a file"));
  CHECK_THROWS_AS(SafetensorsFile(folder.path()), InputError);
}
