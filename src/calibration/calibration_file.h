// SPDX-License-Identifier: Apache-2.0
// Calibration sequences in files: what `prepare` writes, and ready-made token ids of other
// programs. docs/formats.md describes the layout (schema indexcache-calibration/1).
#pragma once

#include "calibration/prepare.h"
#include "calibration/token_set.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// Token ids that need no tokenizer.
struct StoredTokens {
  TokenSet tokens;
  // Which sequences are held out; empty where the file does not say.
  std::vector<bool> held_out;
  std::string tokenizer_sha256;  // empty where the file does not say
  Json description;              // what `prepare` recorded; null for files of other programs
};

// A file that holds sequences of ids as they are to be measured: .h5, .npy, or .jsonl or .json with
// input_ids; `format` instead of its ending says which. Prepared with boundaries, every document's
// part is a sequence of its own. Throws InputError with file, line or sequence for anything
// malformed, for text, with what it needs, and for an empty set.
StoredTokens read_stored(const std::filesystem::path& path,
                         std::optional<FileKind> format = std::nullopt,
                         const TextNeeds& text_needs = {
                             "a tokenizer", "indexcache-search prepare, which writes token ids"});

// Only its tokens, including held-out ones.
TokenSet read_tokens(const std::filesystem::path& path);

// Writes a prepared set, sequence by sequence; the fingerprint of its ids.
std::string write_calibration(const std::filesystem::path& path, const PreparedSet& set,
                              const Tokenizer* tokenizer, const std::string& tokenizer_name);

// What a prepared file holds, without its tokens.
struct CalibrationSummary {
  std::string fingerprint;
  std::string tokenizer_sha256;  // empty for ids that were given
  Json description;
  std::vector<std::int64_t> lengths;  // [S]
  std::vector<bool> held_out;         // [S]
};

// Throws InputError when the file was not written by `prepare` or is damaged.
CalibrationSummary read_summary(const std::filesystem::path& path);

// One sequence of a prepared file and where its parts come from.
struct StoredSequence {
  std::vector<TokenId> start;          // the first ids
  std::vector<std::string> documents;  // "file:12", "file:13, from token 2048"
};

// The first `ids` ids of sequence `index`, which must be one of the summary's.
StoredSequence read_sequence(const std::filesystem::path& path, const CalibrationSummary& summary,
                             std::size_t index, std::int64_t ids);

}  // namespace indexcache
