// SPDX-License-Identifier: Apache-2.0
// Lengths of requests: what is accepted has as many requests as its counts say.
#include "profile/lengths.h"

#include "fuzz/target.h"

#include <algorithm>
#include <span>

namespace {

class TextStream : public indexcache::ByteStream {
 public:
  explicit TextStream(std::string_view text) : text_(text) {}

  std::size_t read(std::span<char> buffer) override {
    const std::size_t count = std::min(buffer.size(), text_.size());
    std::copy_n(text_.begin(), count, buffer.begin());
    text_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view text_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    TextStream stream(text);
    const indexcache::Lengths lengths = indexcache::read_lengths(stream, "x");
    std::int64_t requests = 0;
    for (const auto& prompt : lengths.prompts) requests += prompt.count;
    if (requests != lengths.requests || lengths.shortest() < 1) __builtin_trap();
  });
}
