// SPDX-License-Identifier: Apache-2.0
// Thin ownership over the HDF5 C API: whole datasets, and rows of large ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// A dataset of integers, converted to int64 by HDF5.
struct IntegerDataset {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> values;  // row-major
};

class Hdf5Reader {
 public:
  // Throws InputError when the file does not exist or is not HDF5.
  explicit Hdf5Reader(const std::filesystem::path& path);
  ~Hdf5Reader();
  Hdf5Reader(const Hdf5Reader&) = delete;
  Hdf5Reader& operator=(const Hdf5Reader&) = delete;

  bool contains(const std::string& dataset) const;

  // Throws InputError when the dataset is absent, is not of integers or cannot be read.
  IntegerDataset integers(const std::string& dataset) const;

  // Extents of a dataset of integers; the same errors.
  std::vector<std::int64_t> shape(const std::string& dataset) const;

  // `count` elements of the last dimension from `first` on, of row `row` (ignored where there is
  // one dimension alone): a part of a dataset that may be larger than memory. The
  // caller bounds `count`, by shape() where it comes from a file.
  std::vector<std::int64_t> row(const std::string& dataset, std::int64_t row, std::int64_t first,
                                std::int64_t count) const;

  // A string attribute of the root group, or a dataset that write_text wrote; nullopt when absent.
  std::optional<std::string> attribute(const std::string& name) const;
  std::optional<std::string> text(const std::string& dataset) const;

 private:
  std::filesystem::path path_;
  std::int64_t file_ = -1;
};

// Writes a new file; objects carry no times, so equal content gives equal bytes. Every function
// throws ResourceError when the disk refuses.
class Hdf5Writer {
 public:
  // `name` is the file that errors name, if `path` is only a temporary one.
  explicit Hdf5Writer(const std::filesystem::path& path, const std::filesystem::path& name = {});
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void write(const std::string& dataset, const std::vector<std::int64_t>& shape,
             const std::vector<double>& values);
  void write(const std::string& dataset, const std::vector<std::int64_t>& shape,
             const std::vector<std::int64_t>& values);

  // A dataset of int32 that rows are written into, one compressed chunk after the other.
  void create_rows(const std::string& dataset, std::int64_t rows, std::int64_t width);
  void write_row(const std::string& dataset, std::int64_t row,
                 const std::vector<std::int32_t>& values);

  // One long string.
  void write_text(const std::string& dataset, const std::string& text);

  // Attributes of the root group.
  void attribute(const std::string& name, const std::string& text);

  // Writes what is still in memory, and closes.
  void close();

 private:
  void write_array(const std::string& dataset, const std::vector<std::int64_t>& shape,
                   std::int64_t file_type, std::int64_t memory_type, const void* values);
  void check(bool succeeded) const;

  std::filesystem::path name_;
  std::int64_t file_ = -1;
};

}  // namespace indexcache
