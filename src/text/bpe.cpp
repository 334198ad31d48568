// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include "core/mix.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace indexcache {
namespace {

constexpr std::uint64_t kFree = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kLongestSeen = 64;    // bytes of a pre-token worth remembering
constexpr std::size_t kMostSeen = 1 << 17;  // pre-tokens, about 20 MB
constexpr std::size_t kShort = 24;          // bytes up to which a scan beats a heap
constexpr std::int32_t kEnd = -1;

std::uint64_t key_of(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(TokenMap vocabulary, const std::vector<Merge>& merges, bool ignore_merges)
    : vocabulary_(std::move(vocabulary)), ignore_merges_(ignore_merges) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto entry = vocabulary_.find(std::string(1, static_cast<char>(byte)));
    byte_ids_[byte] = entry == vocabulary_.end() ? -1 : entry->second;
  }
  slots_.assign(std::bit_ceil(2 * merges.size() + 2), {kFree, {}});
  mask_ = slots_.size() - 1;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::uint64_t pair = key_of(merges[rank].left, merges[rank].right);
    std::size_t slot = mix(pair) & mask_;
    while (slots_[slot].pair != kFree && slots_[slot].pair != pair) slot = (slot + 1) & mask_;
    slots_[slot] = {pair, {static_cast<std::int32_t>(rank), merges[rank].merged}};
  }
}

const Bpe::Merged* Bpe::merged(TokenId left, TokenId right) const {
  const std::uint64_t pair = key_of(left, right);
  for (std::size_t slot = mix(pair) & mask_;; slot = (slot + 1) & mask_) {
    if (slots_[slot].pair == pair) return &slots_[slot].merged;
    if (slots_[slot].pair == kFree) return nullptr;
  }
}

void Bpe::encode(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (bytes.size() > kLongestSeen) {
    merge(bytes, scratch, ids);
    return;
  }
  auto seen = scratch.seen_.find(bytes);
  if (seen == scratch.seen_.end()) {
    if (scratch.seen_.size() >= kMostSeen) scratch.seen_.clear();
    seen = scratch.seen_.emplace(bytes, std::vector<TokenId>{}).first;
    merge(bytes, scratch, seen->second);
  }
  ids.insert(ids.end(), seen->second.begin(), seen->second.end());
}

void Bpe::merge(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto entry = vocabulary_.find(bytes); entry != vocabulary_.end()) {
      ids.push_back(entry->second);
      return;
    }
  }
  if (bytes.size() <= kShort) {
    merge_short(bytes, ids);
  } else {
    merge_long(bytes, scratch, ids);
  }
}

void Bpe::merge_short(std::string_view bytes, std::vector<TokenId>& ids) const {
  std::array<TokenId, kShort> tokens;
  std::array<const Merged*, kShort> pairs;  // pairs[i]: of tokens i and i + 1
  std::size_t count = bytes.size();
  for (std::size_t i = 0; i < count; ++i) {
    tokens[i] = byte_ids_[static_cast<unsigned char>(bytes[i])];
  }
  const auto look = [&](std::size_t i) {
    pairs[i] = i + 1 < count ? merged(tokens[i], tokens[i + 1]) : nullptr;
  };
  for (std::size_t i = 0; i < count; ++i) look(i);
  while (true) {
    std::size_t best = count;
    for (std::size_t i = 0; i + 1 < count; ++i) {
      if (pairs[i] && (best == count || pairs[i]->rank < pairs[best]->rank)) best = i;
    }
    if (best == count) break;
    tokens[best] = pairs[best]->id;
    std::copy(&tokens[best] + 2, &tokens[0] + count, &tokens[best] + 1);
    std::copy(&pairs[best] + 2, &pairs[0] + count, &pairs[best] + 1);
    --count;
    look(best);
    if (best > 0) look(best - 1);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
}

void Bpe::merge_long(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const {
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  const auto count = static_cast<std::int32_t>(bytes.size());
  symbols.clear();
  heap.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
    symbols.push_back({byte_ids_[byte], i - 1, i + 1 < count ? i + 1 : kEnd});
  }
  const auto at = [&](std::int32_t i) -> Scratch::Symbol& {
    return symbols[static_cast<std::size_t>(i)];
  };
  const auto offer = [&](std::int32_t left) {
    if (left == kEnd || at(left).next == kEnd) return;
    const TokenId right_id = at(at(left).next).id;
    if (const Merged* found = merged(at(left).id, right_id)) {
      heap.push_back({found->rank, left, at(left).id, right_id});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (std::int32_t i = 0; i + 1 < count; ++i) offer(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    // Neighbors may have been merged since the pair was offered; an id of -1 marks what is gone.
    Scratch::Symbol& left = at(best.left);
    if (left.id != best.left_id || left.next == kEnd) continue;
    Scratch::Symbol& right = at(left.next);
    if (right.id != best.right_id) continue;
    left.id = merged(best.left_id, best.right_id)->id;
    right.id = -1;
    left.next = right.next;
    if (left.next != kEnd) at(left.next).previous = best.left;
    offer(best.left);
    offer(left.previous);
  }
  for (std::int32_t i = 0; i != kEnd; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace indexcache
