// SPDX-License-Identifier: Apache-2.0
#include "io/byte_stream.h"

#include "core/error.h"
#include "io/files.h"
#include "io/npy.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstring>
#include <zlib.h>
#include <zstd.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string gzipped(const std::string& text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

std::string zstded(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

// A text longer than every buffer that hardly packs.
std::string long_text() {
  std::string text;
  std::uint32_t x = 1;
  while (text.size() < 1'500'000) {
    x = x * 1664525 + 1013904223;
    text += static_cast<char>('a' + (x >> 24) % 26);
    if (x >> 30 == 0) text += '\n';
  }
  return text;
}

std::string read_back(const std::string& bytes) {
  const TempFolder folder;
  write_text(folder / "x", bytes);
  const auto stream = open_stream(folder / "x");
  return read_all(*stream);
}

std::string refusal(const std::string& bytes) {
  try {
    read_back(bytes);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::string npy(const std::string& header, const std::string& data) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + data;
}

std::string npy_refusal(const std::string& bytes) {
  const TempFolder folder;
  write_text(folder / "x.npy", bytes);
  const auto stream = open_stream(folder / "x.npy");
  try {
    NpyReader reader(*stream, "x.npy");
    std::vector<std::int64_t> row;
    while (reader.next(row)) {
    }
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("gzip and zstd are unpacked, several members one after the other") {
  const std::string text = long_text();
  CHECK(read_back(text) == text);
  CHECK(read_back(gzipped(text)) == text);
  CHECK(read_back(zstded(text)) == text);
  CHECK(read_back(gzipped(text) + gzipped("end")) == text + "end");
  CHECK(read_back(zstded(text) + zstded("end")) == text + "end");
  CHECK(read_back("").empty());
  CHECK(read_back(gzipped("")).empty());
}

TEST_CASE("packed files that are cut off or damaged are refused") {
  const std::string text = long_text();
  const std::string zip = gzipped(text);
  const std::string zst = zstded(text);
  CHECK_THAT(refusal(zip.substr(0, zip.size() - 5)), Contains("ends too early"));
  CHECK_THAT(refusal(zst.substr(0, zst.size() - 5)), Contains("ends too early"));
  std::string damaged = zip;
  std::memset(damaged.data() + 5000, 0x55, 200);
  CHECK_THAT(refusal(damaged), Contains("cannot unpack"));
  CHECK_THAT(refusal(zst.substr(0, 9) + std::string(2000, '\x55')), Contains("cannot unpack"));
  CHECK_THROWS_AS(open_stream("/no/such/file"), InputError);
  CHECK_THROWS_AS(open_stream("/tmp"), InputError);
}

TEST_CASE("a stream is cut at a separator wherever its buffers end") {
  std::string text;
  std::vector<std::string> expected;
  for (std::size_t i = 0; i < 3000; ++i) {
    expected.emplace_back(i * 7 % 400, static_cast<char>('a' + i % 26));
    text += expected.back() + "=====";
  }
  const TempFolder folder;
  write_text(folder / "x", text);
  const auto stream = open_stream(folder / "x");
  PieceReader reader(*stream, "=====");
  std::vector<std::string> pieces;
  for (std::string piece; reader.next(piece);) pieces.push_back(piece);
  CHECK(pieces == expected);
}

TEST_CASE("integer arrays of NumPy are read by rows") {
  const TempFolder folder;
  const std::string data("\x01\x00\x02\x00\xFF\xFF\x04\x00", 8);
  const auto rows_of = [&](const std::string& bytes) {
    write_text(folder / "x.npy", bytes);
    const auto stream = open_stream(folder / "x.npy");
    NpyReader reader(*stream, "x.npy");
    std::vector<std::vector<std::int64_t>> rows;
    for (std::vector<std::int64_t> row; reader.next(row);) rows.push_back(row);
    return rows;
  };
  using Rows = std::vector<std::vector<std::int64_t>>;
  const std::string order = "'fortran_order': False, ";
  CHECK(rows_of(npy("{'descr': '<u2', " + order + "'shape': (2, 2), }", data)) ==
        Rows{{1, 2}, {65535, 4}});
  CHECK(rows_of(npy("{'descr': '<i2', " + order + "'shape': (4,), }", data)) ==
        Rows{{1, 2, -1, 4}});
  CHECK(rows_of(gzipped(npy("{'descr': '<i8', " + order + "'shape': (1, 1), }", data))) ==
        Rows{{0x0004FFFF00020001}});
}

TEST_CASE("other arrays are refused") {
  const std::string order = "'fortran_order': False, ";
  CHECK_THAT(npy_refusal("hello, world"), Contains("not a .npy file"));
  CHECK_THAT(npy_refusal(npy("{'descr': '<f4', " + order + "'shape': (1,), }", "abcd")),
             Contains("not integers"));
  CHECK_THAT(npy_refusal(npy("{'descr': '>i4', " + order + "'shape': (1,), }", "abcd")),
             Contains("big-endian"));
  CHECK_THAT(npy_refusal(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (1, 1), }", "abcd")),
             Contains("Fortran"));
  CHECK_THAT(npy_refusal(npy("{'descr': '<i4', " + order + "'shape': (1, 1, 1), }", "abcd")),
             Contains("one or two dimensions"));
  CHECK_THAT(
      npy_refusal(npy("{'descr': '<i4', " + order + "'shape': (1000000, 1000000), }", "abcd")),
      Contains("ends too early"));
}
