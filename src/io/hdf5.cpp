// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"

#include "core/error.h"
#include "io/system_failure.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace indexcache {
namespace {

// Owns one HDF5 identifier; `Close` is the function of its kind.
template <herr_t (*Close)(hid_t)>
class Handle {
 public:
  explicit Handle(hid_t id) : id_(id) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) Close(id_);
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  hid_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }
  // Whether everything that was still in memory has been written.
  bool close() { return Close(std::exchange(id_, -1)) >= 0; }

 private:
  hid_t id_;
};

using Dataset = Handle<H5Dclose>;
using Dataspace = Handle<H5Sclose>;
using Datatype = Handle<H5Tclose>;
using Attribute = Handle<H5Aclose>;
using Properties = Handle<H5Pclose>;

// HDF5 prints its error stack to stderr by default; messages here are our own. At exit it would try
// once more to write what a full disk refused, and crash: every file is closed here.
void prepare_library() {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

constexpr const char* kLayout = "docs/formats.md describes the layout";

[[noreturn]] void fail_reading(const std::filesystem::path& path, const std::string& dataset,
                               const std::string& why, const std::string& remedy = kLayout) {
  throw InputError({"cannot read an HDF5 file",
                    dataset.empty() ? path.string() : path.string() + ": " + dataset, why, remedy});
}

// The error of the system that made the last call of the library fail, or 0. Only the text of the
// library's own error stack has it ("…, errno = 28, …"): closing what is open changes errno itself.
int system_error() {
  int error = 0;
  const auto find = [](unsigned, const H5E_error2_t* entry, void* found) -> herr_t {
    constexpr const char* kName = "errno = ";
    const char* at = std::strstr(entry->desc, kName);
    if (at != nullptr) *static_cast<int*>(found) = std::atoi(at + std::strlen(kName));
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find, &error);
  return error;
}

// After a call of the library that failed: the disk is at fault, or else the file.
[[noreturn]] void fail_call(const std::filesystem::path& path, const std::string& dataset,
                            const std::string& why, const std::string& remedy = kLayout) {
  const int error = system_error();
  if (resource_remedy(error)) fail_opening(path, error, "");
  fail_reading(path, dataset, why, remedy);
}

// Tokens of a compressed chunk: a long sequence is read and written in pieces.
constexpr std::int64_t kChunk = 1 << 16;
constexpr std::size_t kLongestText = std::size_t{1} << 30;

std::vector<hsize_t> extents(const std::vector<std::int64_t>& shape) {
  return {shape.begin(), shape.end()};
}

}  // namespace

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path) : path_(path) {
  prepare_library();
  if (!std::filesystem::exists(path)) fail_reading(path, "", "the file does not exist");
  file_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file_ >= 0) return;
  fail_call(path, "", "it is not an HDF5 file, or only a part of one",
            "copy the file again, or make it again");
}

Hdf5Reader::~Hdf5Reader() {
  if (file_ >= 0) H5Fclose(file_);
}

bool Hdf5Reader::contains(const std::string& dataset) const {
  return H5Lexists(file_, dataset.c_str(), H5P_DEFAULT) > 0;
}

namespace {

// An open dataset of integers and its extents.
struct Integers {
  Dataset dataset;
  std::vector<hsize_t> extents;
};

Integers open_integers(std::int64_t file, const std::filesystem::path& path,
                       const std::string& name) {
  Integers opened{Dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT)), {}};
  if (!opened.dataset.valid()) fail_reading(path, name, "the dataset is missing");
  const Datatype type(H5Dget_type(opened.dataset.get()));
  if (H5Tget_class(type.get()) != H5T_INTEGER) {
    fail_reading(path, name, "its elements are not integers");
  }
  const Dataspace space(H5Dget_space(opened.dataset.get()));
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 1) fail_reading(path, name, "it is not an array");
  opened.extents.resize(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), opened.extents.data(), nullptr);
  return opened;
}

// A claimed size is not trusted for an allocation: deflate, the tightest filter HDF5 has, turns at
// most 1,032 bytes into one, and an element is at least one byte. Takes time in proportion to the
// chunks, so it is not for every row.
Integers open_checked(std::int64_t file, const std::filesystem::path& path,
                      const std::string& name) {
  Integers opened = open_integers(file, path, name);
  const hsize_t limit = (H5Dget_storage_size(opened.dataset.get()) + 1) * 1032;
  hsize_t count = 1;
  for (hsize_t extent : opened.extents) {
    if (extent != 0 && count > limit / extent) {
      fail_reading(path, name, "its claimed size is larger than the stored data can be");
    }
    count *= extent;
  }
  return opened;
}

constexpr const char* kUnreadable = "the data cannot be read; the file may be truncated";

// A fixed-length string from `read`, which fills a buffer with a type.
template <typename Read>
std::optional<std::string> read_string(const Datatype& type, Read read) {
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) > 0) {
    return std::nullopt;
  }
  std::string text(H5Tget_size(type.get()), '\0');
  if (text.size() > kLongestText || read(type.get(), text.data()) < 0) return std::nullopt;
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

}  // namespace

IntegerDataset Hdf5Reader::integers(const std::string& name) const {
  const Integers opened = open_checked(file_, path_, name);
  std::size_t count = 1;
  for (hsize_t extent : opened.extents) count *= extent;
  IntegerDataset result{{opened.extents.begin(), opened.extents.end()},
                        std::vector<std::int64_t>(count)};
  if (count > 0 && H5Dread(opened.dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                           result.values.data()) < 0) {
    fail_call(path_, name, kUnreadable);
  }
  return result;
}

std::vector<std::int64_t> Hdf5Reader::shape(const std::string& name) const {
  const Integers opened = open_checked(file_, path_, name);
  return {opened.extents.begin(), opened.extents.end()};
}

std::vector<std::int64_t> Hdf5Reader::row(const std::string& name, std::int64_t row,
                                          std::int64_t first, std::int64_t count) const {
  const Integers opened = open_integers(file_, path_, name);
  std::vector<hsize_t> start{static_cast<hsize_t>(first)};
  std::vector<hsize_t> extent{static_cast<hsize_t>(count)};
  if (opened.extents.size() == 2) {
    start.insert(start.begin(), static_cast<hsize_t>(row));
    extent.insert(extent.begin(), 1);
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  const Dataspace stored(H5Dget_space(opened.dataset.get()));
  const Dataspace memory(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr));
  if (H5Sselect_hyperslab(stored.get(), H5S_SELECT_SET, start.data(), nullptr, extent.data(),
                          nullptr) < 0 ||
      H5Dread(opened.dataset.get(), H5T_NATIVE_INT64, memory.get(), stored.get(), H5P_DEFAULT,
              values.data()) < 0) {
    fail_call(path_, name, kUnreadable);
  }
  return values;
}

std::optional<std::string> Hdf5Reader::attribute(const std::string& name) const {
  if (H5Aexists(file_, name.c_str()) <= 0) return std::nullopt;
  const Attribute opened(H5Aopen(file_, name.c_str(), H5P_DEFAULT));
  return read_string(Datatype(H5Aget_type(opened.get())),
                     [&](hid_t type, char* text) { return H5Aread(opened.get(), type, text); });
}

std::optional<std::string> Hdf5Reader::text(const std::string& name) const {
  if (!contains(name)) return std::nullopt;
  const Dataset opened(H5Dopen2(file_, name.c_str(), H5P_DEFAULT));
  return read_string(Datatype(H5Dget_type(opened.get())), [&](hid_t type, char* text) {
    return H5Dread(opened.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text);
  });
}

namespace {

// Of a dataset: with times, equal content would not give equal bytes.
Properties without_times() {
  Properties properties(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_obj_track_times(properties.get(), false);
  return properties;
}

// UTF-8 with a zero behind it.
Datatype string_type(const std::string& text) {
  Datatype type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), text.size() + 1);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

}  // namespace

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path, const std::filesystem::path& name)
    : name_(name.empty() ? path : name) {
  prepare_library();
  file_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  check(file_ >= 0);
}

Hdf5Writer::~Hdf5Writer() {
  if (file_ >= 0) H5Fclose(file_);
}

void Hdf5Writer::write_array(const std::string& name, const std::vector<std::int64_t>& shape,
                             std::int64_t file_type, std::int64_t memory_type, const void* values) {
  const Properties properties = without_times();
  const auto dims = extents(shape);
  const Dataspace space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr));
  const Properties links(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(links.get(), 1);
  Dataset dataset(H5Dcreate2(file_, name.c_str(), file_type, space.get(), links.get(),
                             properties.get(), H5P_DEFAULT));
  check(dataset.valid());
  check(H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  check(dataset.close());
}

void Hdf5Writer::write(const std::string& dataset, const std::vector<std::int64_t>& shape,
                       const std::vector<double>& values) {
  write_array(dataset, shape, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, values.data());
}

void Hdf5Writer::write(const std::string& dataset, const std::vector<std::int64_t>& shape,
                       const std::vector<std::int64_t>& values) {
  write_array(dataset, shape, H5T_STD_I64LE, H5T_NATIVE_INT64, values.data());
}

void Hdf5Writer::create_rows(const std::string& name, std::int64_t rows, std::int64_t width) {
  const Properties properties = without_times();
  const auto dims = extents({rows, width});
  const auto chunk = extents({1, std::min(width, kChunk)});
  H5Pset_chunk(properties.get(), 2, chunk.data());
  H5Pset_shuffle(properties.get());
  H5Pset_deflate(properties.get(), 1);
  const Dataspace space(H5Screate_simple(2, dims.data(), nullptr));
  Dataset dataset(H5Dcreate2(file_, name.c_str(), H5T_STD_I32LE, space.get(), H5P_DEFAULT,
                             properties.get(), H5P_DEFAULT));
  check(dataset.valid());
  check(dataset.close());
}

void Hdf5Writer::write_row(const std::string& name, std::int64_t row,
                           const std::vector<std::int32_t>& values) {
  Dataset dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT));
  check(dataset.valid());
  const Dataspace stored(H5Dget_space(dataset.get()));
  const hsize_t start[] = {static_cast<hsize_t>(row), 0};
  const hsize_t extent[] = {1, values.size()};
  const Dataspace memory(H5Screate_simple(2, extent, nullptr));
  check(H5Sselect_hyperslab(stored.get(), H5S_SELECT_SET, start, nullptr, extent, nullptr) >= 0);
  check(H5Dwrite(dataset.get(), H5T_NATIVE_INT32, memory.get(), stored.get(), H5P_DEFAULT,
                 values.data()) >= 0);
  check(dataset.close());  // compresses the chunk and writes it
}

void Hdf5Writer::write_text(const std::string& name, const std::string& text) {
  const Datatype type = string_type(text);
  const Properties properties = without_times();
  const Dataspace space(H5Screate(H5S_SCALAR));
  Dataset dataset(H5Dcreate2(file_, name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                             properties.get(), H5P_DEFAULT));
  check(dataset.valid());
  check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.c_str()) >= 0);
  check(dataset.close());
}

void Hdf5Writer::attribute(const std::string& name, const std::string& text) {
  const Datatype type = string_type(text);
  const Dataspace space(H5Screate(H5S_SCALAR));
  Attribute attribute(
      H5Acreate2(file_, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
  check(attribute.valid());
  check(H5Awrite(attribute.get(), type.get(), text.c_str()) >= 0);
  check(attribute.close());
}

void Hdf5Writer::close() {
  check(H5Fclose(std::exchange(file_, -1)) >= 0);
}

void Hdf5Writer::check(bool succeeded) const {
  if (!succeeded) fail_writing(name_, system_error());
}

}  // namespace indexcache
