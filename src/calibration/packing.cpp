// SPDX-License-Identifier: Apache-2.0
#include "calibration/packing.h"

#include <algorithm>
#include <utility>

namespace indexcache {

std::int64_t PackedSequence::length() const {
  std::int64_t length = 0;
  for (const Piece& piece : pieces) length += piece.length;
  return length;
}

bool Packer::full() const {
  return options_.sequences > 0 && done_.size() >= options_.sequences;
}

std::int64_t Packer::add(std::size_t document, std::int64_t length) {
  if (options_.long_documents == LongDocuments::truncate) {
    length = std::min(length, options_.seq_len);
  }
  return options_.packing == Packing::none ? add_alone(document, length)
                                           : add_packed(document, length);
}

std::int64_t Packer::add_alone(std::size_t document, std::int64_t length) {
  std::int64_t used = 0;
  while (!full() && length - used >= options_.min_length) {
    const std::int64_t take = std::min(length - used, options_.seq_len);
    done_.push_back({{{document, used, take}}});
    used += take;
  }
  return used;
}

std::int64_t Packer::add_packed(std::size_t document, std::int64_t length) {
  // A part that is read on its own has to be long enough to say something.
  const std::int64_t least = options_.packing == Packing::documents ? options_.min_length : 1;
  std::int64_t used = 0;
  while (!full() && length - used >= least) {
    const std::int64_t room = options_.seq_len - open_.length();
    if (room < least) {
      close();
      continue;
    }
    const std::int64_t take = std::min(length - used, room);
    open_.pieces.push_back({document, used, take});
    used += take;
    if (take == room) close();
  }
  return used;
}

void Packer::close() {
  done_.push_back(std::exchange(open_, {}));
}

std::vector<PackedSequence> Packer::finish() {
  if (options_.packing == Packing::documents && !open_.pieces.empty() && !full()) close();
  return std::move(done_);
}

}  // namespace indexcache
