// SPDX-License-Identifier: Apache-2.0
// Documents -> sequences, from lengths only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

enum class Packing {
  none,       // a sequence holds one document, or a part of one
  concat,     // documents follow one another, and attention sees across
  documents,  // they follow one another, and each is read on its own
};

enum class LongDocuments {
  truncate,  // what follows the first seq_len tokens is not used
  split,     // it goes into further sequences
};

struct PackingOptions {
  std::int64_t seq_len = 0;
  Packing packing = Packing::none;
  LongDocuments long_documents = LongDocuments::truncate;
  // Tokens that a sequence without packing, or a part with boundaries, must have; at least 2.
  std::int64_t min_length = 2;
  std::size_t sequences = 0;  // that are wanted; 0: as many as the documents give
};

// Tokens [begin, begin + length) of a document.
struct Piece {
  std::size_t document;
  std::int64_t begin;
  std::int64_t length;
};

struct PackedSequence {
  std::vector<Piece> pieces;

  std::int64_t length() const;
};

class Packer {
 public:
  explicit Packer(const PackingOptions& options) : options_(options) {}

  // Whether all sequences that were wanted are there.
  bool full() const;

  // Uses as much of a document as there is room for; the tokens used.
  std::int64_t add(std::size_t document, std::int64_t length);

  // Call once after the last document. Without boundaries, an incomplete sequence is left out.
  std::vector<PackedSequence> finish();

 private:
  std::int64_t add_alone(std::size_t document, std::int64_t length);
  std::int64_t add_packed(std::size_t document, std::int64_t length);
  void close();

  PackingOptions options_;
  std::vector<PackedSequence> done_;
  PackedSequence open_;
};

}  // namespace indexcache
