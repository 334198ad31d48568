// SPDX-License-Identifier: Apache-2.0
#include "calibration/document_reader.h"

#include "core/error.h"
#include "io/json_values.h"
#include "io/text_stream.h"

#include <fmt/format.h>

#include <optional>

namespace indexcache {
namespace {

[[noreturn]] void refuse_reading(const std::string& where, const std::string& why) {
  throw InputError({"the calibration file cannot be used", where, why,
                    "docs/calibration.md describes the supported calibration files"});
}

// Rows of /tokens, each as long as /lengths says.
class Hdf5Rows {
 public:
  explicit Hdf5Rows(const std::string& path) : file_(path) {
    const auto shape = file_.shape("/tokens");
    if (shape.size() > 2)
      refuse_reading(path + ": /tokens", "it is not [sequences, length] or [length]");
    const std::int64_t rows = shape.size() == 2 ? shape[0] : 1;
    lengths_.assign(static_cast<std::size_t>(rows), shape.back());
    if (file_.contains("/lengths")) read_lengths(path, shape.back());
  }

  bool next(RawDocument& document) {
    if (row_ == lengths_.size()) return false;
    document.ids = file_.row("/tokens", static_cast<std::int64_t>(row_), 0, lengths_[row_]);
    ++row_;
    return true;
  }

 private:
  void read_lengths(const std::string& path, std::int64_t width) {
    const IntegerDataset lengths = file_.integers("/lengths");
    if (lengths.shape.size() != 1 || lengths.values.size() != lengths_.size()) {
      refuse_reading(path + ": /lengths",
                     fmt::format("expected one length for each of {} sequences", lengths_.size()));
    }
    for (std::int64_t length : lengths.values) {
      if (length >= 0 && length <= width) continue;
      refuse_reading(path + ": /lengths", fmt::format("{} is not between 0 and {}", length, width));
    }
    lengths_ = lengths.values;
  }

  Hdf5Reader file_;
  std::vector<std::int64_t> lengths_;
  std::size_t row_ = 0;
};

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace

DocumentReader::DocumentReader(const std::vector<SourceFile>& files, std::string separator)
    : files_(files), separator_(std::move(separator)) {}

DocumentReader::~DocumentReader() = default;

void DocumentReader::open(const SourceFile& file) {
  number_ = 0;
  const std::string path = file.path.string();
  if (file.kind == FileKind::hdf5) {
    read_ = [rows = std::make_shared<Hdf5Rows>(path)](RawDocument& document) {
      return rows->next(document);
    };
    return;
  }
  if (file.kind == FileKind::npy) {
    stream_ = open_stream(file.path);
    read_ = [rows = std::make_shared<NpyReader>(*stream_, path)](RawDocument& document) {
      return rows->next(document.ids);
    };
    return;
  }
  const bool text = file.kind == FileKind::text;
  stream_ = open_text_stream(file.path, text ? LineEnds::unix : LineEnds::kept);
  if (file.kind == FileKind::json) {
    read_ = [values = std::make_shared<JsonValueReader>(*stream_, path)](RawDocument& document) {
      JsonPlace place;
      if (!values->next(document.bytes, place)) return false;
      document.line = place.line;
      document.column = place.column;
      document.in_list = values->in_list();
      return true;
    };
  } else if (text && separator_.empty()) {
    read_ = [this](RawDocument& document) {
      if (number_ > 0) return false;
      document.bytes = read_all(*stream_);
      return true;
    };
  } else {
    const std::string& cut = text ? separator_ : "\n";
    read_ = [pieces = std::make_shared<PieceReader>(*stream_, cut)](RawDocument& document) {
      return pieces->next(document.bytes);
    };
  }
}

bool DocumentReader::read(RawDocument& document) {
  const bool lines = files_[file_].kind == FileKind::jsonl;
  while (read_(document)) {
    ++number_;
    if (lines) document.line = static_cast<std::size_t>(number_);
    if (!lines || !is_blank(document.bytes)) return true;
  }
  return false;
}

bool DocumentReader::read_or_note(const SourceFile& file, RawDocument& document) {
  try {
    if (!read_) open(file);
    return read(document);
  } catch (const InputError& error) {
    document.error = error;
    ++number_;
    read_ = [](RawDocument&) { return false; };
    return true;
  }
}

bool DocumentReader::next(RawDocument& document) {
  while (file_ < files_.size()) {
    const SourceFile& file = files_[file_];
    if (read_or_note(file, document)) {
      document.origin = {static_cast<std::uint32_t>(file.source), static_cast<std::uint32_t>(file_),
                         number_};
      document.kind = file.kind;
      return true;
    }
    read_ = nullptr;
    ++file_;
  }
  return false;
}

}  // namespace indexcache
