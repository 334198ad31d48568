// SPDX-License-Identifier: Apache-2.0
#include "io/npy.h"

#include "core/error.h"

#include <fmt/format.h>

#include <cstring>
#include <regex>

namespace indexcache {
namespace {

// A regular expression of the library needs stack for every character of it.
constexpr std::size_t kLongestHeader = 1 << 12;
constexpr std::int64_t kLongestRow = std::int64_t{1} << 32;
// Values of a row that are read at a time: a header that promises too much costs no memory.
constexpr std::size_t kPortion = 1 << 16;

std::int64_t value_at(const char* bytes, std::size_t size, bool is_signed) {
  std::uint64_t raw = 0;
  std::memcpy(&raw, bytes, size);
  const unsigned unused = 64 - 8 * static_cast<unsigned>(size);
  if (is_signed) return static_cast<std::int64_t>(raw << unused) >> unused;
  return static_cast<std::int64_t>(raw);
}

}  // namespace

void NpyReader::fail(const std::string& why) const {
  throw InputError({"the array cannot be read", where_, why,
                    "numpy.save of an integer array, [sequences, length] or [length]"});
}

void NpyReader::read_exactly(std::span<char> buffer) {
  while (!buffer.empty()) {
    const std::size_t bytes = stream_.read(buffer);
    if (bytes == 0) fail("it ends too early");
    buffer = buffer.subspan(bytes);
  }
}

NpyReader::NpyReader(ByteStream& stream, std::string where)
    : stream_(stream), where_(std::move(where)) {
  unsigned char start[10];
  read_exactly({reinterpret_cast<char*>(start), 8});
  if (std::memcmp(start, "\x93NUMPY", 6) != 0 || start[6] < 1 || start[6] > 3) {
    fail("it is not a .npy file");
  }
  const std::size_t digits = start[6] == 1 ? 2 : 4;  // bytes of the header's length
  unsigned char length[4] = {};
  read_exactly({reinterpret_cast<char*>(length), digits});
  const std::size_t bytes =
      length[0] | length[1] << 8 | length[2] << 16 | static_cast<std::size_t>(length[3]) << 24;
  if (bytes > kLongestHeader) fail("its header is longer than any array needs");
  std::string header(bytes, '\0');
  read_exactly(header);
  parse(header);
}

void NpyReader::parse(const std::string& header) {
  std::smatch found;
  const std::regex type("'descr': *'([<|>=])([iuf])([1248])'");
  if (!std::regex_search(header, found, type) || found[2] == "f") {
    fail("its elements are not integers");
  }
  if (found[1] == ">") fail("it is big-endian");
  is_signed_ = found[2] == "i";
  item_bytes_ = std::stoul(found[3]);
  if (std::regex_search(header, std::regex("'fortran_order': *True"))) {
    fail("it is in Fortran order; numpy.ascontiguousarray changes that");
  }
  const std::regex shape(R"('shape': *\((\d{1,18}),(?: *(\d{1,18}),?)? *\))");
  if (!std::regex_search(header, found, shape)) fail("it does not have one or two dimensions");
  const bool two = found[2].matched;
  rows_ = two ? std::stoll(found[1]) : 1;
  width_ = std::stoll(two ? found[2] : found[1]);
  if (width_ > kLongestRow) fail(fmt::format("a row of {} tokens is too long", width_));
}

bool NpyReader::next(std::vector<std::int64_t>& row) {
  if (row_ == rows_) return false;
  row.clear();
  std::vector<char> bytes;
  auto left = static_cast<std::size_t>(width_);
  while (left > 0) {
    const std::size_t count = std::min(left, kPortion);
    bytes.resize(count * item_bytes_);
    read_exactly(bytes);
    for (std::size_t i = 0; i < count; ++i) {
      row.push_back(value_at(&bytes[i * item_bytes_], item_bytes_, is_signed_));
    }
    left -= count;
  }
  ++row_;
  return true;
}

}  // namespace indexcache
