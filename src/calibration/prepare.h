// SPDX-License-Identifier: Apache-2.0
// Documents of any number and size -> calibration and held-out sequences, with an account of what
// became of every document.
//
// Documents are read and tokenized in pieces, in parallel; their ids wait in a temporary file, so
// that memory holds a few numbers a document and no corpus.
#pragma once

#include "calibration/account.h"
#include "calibration/document_parser.h"
#include "calibration/packing.h"
#include "calibration/selection.h"
#include "calibration/source_files.h"
#include "calibration/token_set.h"
#include "calibration/token_spool.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// Share that is held out unless another is asked for.
constexpr double kDefaultHoldout = 0.25;

struct PrepareOptions {
  std::vector<std::string> inputs;
  std::vector<double> weights;  // one an input, or none
  std::string field;
  std::string separator;
  std::optional<FileKind> format;    // of all files, whatever their names
  std::string chat_format = "auto";  // or the name of one
  std::string no_chat;               // why "auto" must not find one; empty: it may
  std::string bos = "auto";          // "none", or an added token
  std::string eos = "auto";
  PackingOptions packing;  // packing.sequences: both sides together
  std::uint64_t seed = 0;
  double holdout = kDefaultHoldout;
  std::vector<std::int64_t> strata;
  bool allow_shortfall = false;
  bool skip_invalid = false;
  int threads = 0;  // 0: all
};

// Replaces --chat-format auto by the format that the files next to the tokenizer ask for, or by the
// reason why there is none. `path` is what the tokenizer was opened with.
void resolve_chat_format(PrepareOptions& options, const Tokenizer& tokenizer,
                         const std::filesystem::path& path);

// The account of a preparation, with what only its log tells.
struct PrepareReport : DocumentAccount {
  std::string first_invalid;  // the error of the first document that was dropped for one
  std::string first_reason;   // its place and cause
  std::map<std::string, std::size_t> other_kinds;  // files that were passed over, by ending
  std::string exhausted;                           // the weighted input that ended the mixture

  bool falls_short() const;
};

// A table for people: a line an input, then what the sequences are.
std::string to_text(const PrepareReport& report);

// Sequences as parts of documents; their ids are read when they are asked for.
class PreparedSet {
 public:
  struct Document {
    Origin origin;
    std::int64_t first;  // in the spool
    std::int64_t length;
  };

  std::size_t size(bool held_out) const { return sides_[held_out].size(); }
  const PackedSequence& sequence(bool held_out, std::size_t index) const {
    return sides_[held_out][index];
  }
  // Ids of a sequence, pieces after one another.
  std::vector<TokenId> tokens(const PackedSequence& sequence) const;

  // Lengths as a model sees them: with boundaries every piece is a sequence of its own.
  std::vector<std::int64_t> lengths(bool held_out) const;

  // Everything in memory, as `run` uses it, of the same lengths.
  TokenSet token_set(bool held_out) const;

  const std::vector<Document>& documents() const { return documents_; }
  const SourceFiles& files() const { return files_; }
  const PrepareOptions& options() const { return options_; }
  const PrepareReport& report() const { return report_; }

 private:
  friend class Preparation;

  PrepareOptions options_;
  SourceFiles files_;
  std::vector<Document> documents_;
  std::unique_ptr<TokenSpool> spool_;
  std::vector<PackedSequence> sides_[2];
  PrepareReport report_;
};

// Sees how many documents and ids have been read.
using PrepareProgress = std::function<void(std::int64_t documents, std::int64_t tokens)>;

// `tokenizer` may be null when nothing but ids is read; ids are below `vocabulary`. Throws
// UsageError for settings that contradict each other, InputError for documents that cannot be read
// and for sequences that cannot be filled (unless allow_shortfall; at least one must be there).
PreparedSet prepare(const PrepareOptions& options, const Tokenizer* tokenizer,
                    std::int64_t vocabulary, const PrepareProgress& progress = {});

// What the shortfall is and what would help; empty where there is none.
std::string shortfall_text(const PrepareReport& report);

}  // namespace indexcache
