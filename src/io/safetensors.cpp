// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include "core/error.h"
#include "io/file_kind.h"
#include "io/files.h"
#include "io/json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace indexcache {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kDownloadFile = "download or convert this file again";

[[noreturn]] void fail(const std::string& where, const std::string& why) {
  throw InputError({"invalid safetensors file", where, why, kDownloadFile});
}

// Archives can begin with what looks like a small header length; a header begins with a brace.
void check_kind(const RandomAccessFile& file) {
  std::string beginning(static_cast<std::size_t>(std::min<std::int64_t>(file.size(), 64)), '\0');
  file.read(0, std::as_writable_bytes(std::span(beginning)));
  if (beginning.size() > 8 && beginning[8] == '{' && beginning[7] == '\0') return;
  const std::string where = file.path().string();
  refuse_other_kind(beginning, where, "a safetensors file");
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  const auto line = std::string_view(beginning).substr(0, beginning.find_first_of("\r\n"));
  if (line.size() > 2 && std::ranges::all_of(line.substr(0, 40), printable)) {
    fail(where, fmt::format("it is text that begins with \"{}\"", line.substr(0, 40)));
  }
  if (beginning.size() >= 8 && beginning.find_first_not_of('\0') == beginning.npos) {
    fail(where, "it begins with zeros: the download or copy is incomplete");
  }
}

std::string header_of(const RandomAccessFile& file) {
  const std::string where = file.path().string();
  const auto file_bytes = static_cast<std::uint64_t>(file.size());
  check_kind(file);
  std::uint64_t length = 0;
  if (file_bytes < sizeof(length)) {
    fail(where, fmt::format("{} bytes are too few for a header", file_bytes));
  }
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > kMaxHeaderBytes) {
    fail(where, fmt::format("the header claims {} bytes, more than the format's {}", length,
                            kMaxHeaderBytes));
  }
  if (length > file_bytes - sizeof(length)) {
    fail(where, fmt::format("the header claims {} bytes, the file has {} after the length: it "
                            "looks truncated",
                            length, file_bytes - sizeof(length)));
  }
  std::string header(length, '\0');
  file.read(sizeof(length), std::as_writable_bytes(std::span(header)));
  return header;
}

// Non-negative integer, or failure.
std::int64_t count_of(const LargeJson& value, const std::string& where) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    fail(where, "a shape or offset is not a whole number of at least 0");
  }
  return value.get<std::int64_t>();
}

// Bytes that dtype and shape imply, elements for a dtype that is not known; refuses products that
// overflow.
std::int64_t implied_bytes(const RawTensor& tensor, const std::string& where) {
  std::int64_t bytes = std::max<std::int64_t>(static_cast<std::int64_t>(size_of(tensor.dtype)), 1);
  for (std::int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) fail(where, "its shape is too large");
  }
  return bytes;
}

struct Range {
  std::int64_t begin;
  std::int64_t end;
  std::string name;
};

RawTensor parse_entry(const LargeJson& entry, const std::string& where, Range& range) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    fail(where, "the header entry lacks dtype, shape or data_offsets");
  }
  const LargeJson& offsets = entry["data_offsets"];
  if (!entry["dtype"].is_string() || !entry["shape"].is_array() || !offsets.is_array() ||
      offsets.size() != 2) {
    fail(where, "the header entry's dtype, shape or data_offsets has the wrong type");
  }
  const auto& name = entry["dtype"].get_ref<const std::string&>();
  RawTensor tensor{
      .dtype = dtype_named(name).value_or(DType::other), .type_name = name, .shape = {}};
  for (const LargeJson& extent : entry["shape"]) tensor.shape.push_back(count_of(extent, where));
  range.begin = count_of(offsets[0], where);
  range.end = count_of(offsets[1], where);
  const std::int64_t implied = implied_bytes(tensor, where);
  const std::int64_t bytes = tensor.dtype == DType::other ? range.end - range.begin : implied;
  if (range.end < range.begin || range.end - range.begin != bytes) {
    fail(where, fmt::format("data_offsets [{}, {}] do not span the {} bytes of {} {}", range.begin,
                            range.end, bytes, name, shape_text(tensor.shape)));
  }
  tensor.bytes = bytes;
  return tensor;
}

void check_coverage(std::vector<Range>& ranges, std::int64_t data_bytes, const std::string& path) {
  std::ranges::sort(ranges, {}, [](const Range& r) { return std::pair(r.begin, r.end); });
  std::int64_t expected = 0;
  for (const Range& range : ranges) {
    if (range.begin != expected) {
      fail(path + ": " + range.name,
           fmt::format("its data begins at byte {}, but the tensors before it end at {}: a gap or "
                       "an overlap",
                       range.begin, expected));
    }
    expected = range.end;
  }
  if (expected != data_bytes) {
    fail(path, fmt::format("the header describes {} bytes of data, the file has {}{}", expected,
                           data_bytes, data_bytes < expected ? ": it looks truncated" : ""));
  }
}

}  // namespace

std::int64_t RawTensor::elements() const {
  std::int64_t count = 1;
  for (std::int64_t extent : shape) count *= extent;
  return count;
}

std::string_view RawTensor::type() const {
  return type_name.empty() ? name_of(dtype) : type_name;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::map<std::string, RawTensor> parse_safetensors_header(std::string_view header,
                                                          std::int64_t file_bytes,
                                                          const std::string& where) {
  const LargeJson json = parse_strict_large_json(header, where + " (header)", kDownloadFile);
  if (!json.is_object()) fail(where, "the header is not a JSON object");
  const auto data = static_cast<std::int64_t>(sizeof(std::uint64_t) + header.size());
  std::map<std::string, RawTensor> tensors;
  std::vector<Range> ranges;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    Range range{0, 0, name};
    RawTensor tensor = parse_entry(entry, where + ": " + name, range);
    ranges.push_back(range);
    tensors.emplace(name, std::move(tensor));
  }
  check_coverage(ranges, file_bytes - data, where);
  for (const Range& range : ranges) tensors.at(range.name).offset = data + range.begin;
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string header = header_of(file_);
  header_sha256_ = sha256(header);
  tensors_ = parse_safetensors_header(header, file_.size(), path.string());
}

std::map<std::string, std::string> SafetensorsFile::metadata() const {
  const LargeJson header =
      parse_strict_large_json(header_of(file_), file_.path().string() + " (header)", kDownloadFile);
  std::map<std::string, std::string> metadata;
  const auto found = header.find("__metadata__");
  if (found == header.end() || !found->is_object()) return metadata;
  for (const auto& [key, value] : found->items()) {
    metadata.emplace(key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return metadata;
}

std::vector<std::byte> SafetensorsFile::read(const RawTensor& tensor) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes));
  read(tensor, 0, bytes);
  return bytes;
}

}  // namespace indexcache
