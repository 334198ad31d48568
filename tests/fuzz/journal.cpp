// SPDX-License-Identifier: Apache-2.0
// A journal. Lines of the input are sealed first where they are not, or no mutation would ever get
// past their checksums; the input as it is comes second.
#include "fuzz/target.h"
#include "io/sealed_line.h"
#include "search/journal_state.h"

namespace {

std::string with_seals(std::string_view text) {
  std::string sealed;
  for (std::size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    if (end == text.npos) return sealed += text.substr(begin);
    const std::string_view line = text.substr(begin, end - begin);
    const bool whole = line.size() > 2 && !indexcache::unseal_line(line);
    sealed += whole ? indexcache::seal_line(line) : std::string(line);
    sealed += '\n';
  }
  return sealed;
}

void check(const std::string& text) {
  const auto state = indexcache::read_journal(text, "x");
  if (state.bytes > text.size() || state.torn == (state.bytes == text.size())) __builtin_trap();
  if (state.losses.patterns() > 0 &&
      (!state.baseline || state.losses.sequences() != state.baseline->size())) {
    __builtin_trap();
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  indexcache::fuzz::run(data, size, [](std::string_view text) { check(with_seals(text)); });
  return indexcache::fuzz::run(data, size, [](std::string_view text) { check(std::string(text)); });
}
