// SPDX-License-Identifier: Apache-2.0
// Documents of files, one after the other, as they are stored.
#pragma once

#include "calibration/source_files.h"
#include "core/error.h"
#include "io/byte_stream.h"
#include "io/hdf5.h"
#include "io/npy.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// Where a document stands.
struct Origin {
  std::uint32_t source = 0;
  std::uint32_t file = 0;   // of all files
  std::int64_t number = 0;  // line, piece or row, counted from 1
};

struct RawDocument {
  Origin origin;
  FileKind kind = FileKind::text;
  std::string bytes;     // of .txt a text, of .jsonl a line, of .json a value
  std::size_t line = 1;  // where they begin
  std::size_t column = 1;
  bool in_list = false;           // an element of the one value of its file
  std::vector<std::int64_t> ids;  // of arrays
  // Why the rest of a file, from this document on, cannot be read.
  std::optional<InputError> error = std::nullopt;
};

class DocumentReader {
 public:
  // `separator` cuts .txt files into documents; empty, a file is one. `files` must outlive this.
  DocumentReader(const std::vector<SourceFile>& files, std::string separator);
  ~DocumentReader();

  // The next document; false after the last. Blank lines of .jsonl are no documents. What keeps a
  // file from being read to its end is one document with an error.
  bool next(RawDocument& document);

 private:
  void open(const SourceFile& file);
  bool read(RawDocument& document);
  bool read_or_note(const SourceFile& file, RawDocument& document);

  const std::vector<SourceFile>& files_;
  std::string separator_;
  std::size_t file_ = 0;
  std::int64_t number_ = 0;
  std::unique_ptr<ByteStream> stream_;
  std::function<bool(RawDocument&)> read_;  // of the open file
};

}  // namespace indexcache
