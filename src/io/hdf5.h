// SPDX-License-Identifier: Apache-2.0
// Thin ownership over the HDF5 C API: whole datasets in and out, nothing else.
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

 private:
  std::filesystem::path path_;
  std::int64_t file_ = -1;
};

// Writes a new file; objects carry no times, so equal content gives equal bytes.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::filesystem::path& path);
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void write(const std::string& dataset, const std::vector<std::int64_t>& shape,
             const std::vector<double>& values);
  void write(const std::string& dataset, const std::vector<std::int64_t>& shape,
             const std::vector<std::int64_t>& values);

  // Attributes of the root group.
  void attribute(const std::string& name, const std::string& text);

  // Flushes and closes; throws ResourceError when the disk refuses.
  void close();

 private:
  void write_array(const std::string& dataset, const std::vector<std::int64_t>& shape,
                   std::int64_t file_type, std::int64_t memory_type, const void* values);

  std::filesystem::path path_;
  std::int64_t file_ = -1;
};

}  // namespace indexcache
