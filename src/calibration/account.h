// SPDX-License-Identifier: Apache-2.0
// What became of the documents that calibration sequences were made from. Part of calibration.h5
// and, as `prepared`, of run.json (docs/formats.md).
#pragma once

#include "io/json.h"
#include "io/json_field.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// The documents of one input.
struct SourceAccount {
  std::string input;
  std::int64_t files = 0;
  std::int64_t read = 0;
  std::int64_t used = 0;
  // Dropped, by reason.
  std::int64_t empty = 0;
  std::int64_t invalid = 0;
  std::int64_t too_short = 0;
  std::int64_t duplicate = 0;
  std::int64_t unused = 0;     // valid, but the sequences were full without them
  std::int64_t truncated = 0;  // of those used: not to their end
  std::int64_t replaced = 0;   // of those tokenized: half a surrogate pair was read as U+FFFD
  std::int64_t tokens_read = 0;
  std::int64_t tokens_used = 0;

  bool operator==(const SourceAccount&) const = default;
};

struct DocumentAccount {
  std::vector<SourceAccount> sources;
  std::int64_t passed_over = 0;   // files in folders whose kind is not read
  std::int64_t hidden = 0;        // files and folders in folders whose names begin with "."
  std::int64_t had_start = 0;     // documents that began with the start already
  std::int64_t double_start = 0;  // documents that begin with two
  std::vector<std::pair<std::string, std::int64_t>> forms;  // documents by what they were made from
  std::size_t wanted[2] = {0, 0};  // sequences: search, held out; 0: as many as there are
  std::size_t built[2] = {0, 0};
  std::string chat_format;  // empty if no conversations were rendered
  std::string start;        // what was put before texts, written out
  std::string end;

  SourceAccount total() const;
  bool operator==(const DocumentAccount&) const = default;
};

// The sources by their names without folders: results do not depend on where the files are.
DocumentAccount without_folders(DocumentAccount account);

Json to_json(const DocumentAccount& account);
DocumentAccount document_account_from_json(const JsonField& field);

}  // namespace indexcache
