// SPDX-License-Identifier: Apache-2.0
// How fast a tokenizer.json loads and how fast text is encoded on one core, with pre-tokens
// remembered (ordinary text repeats its words) and without. The file is one document.
#include "text/tokenizer.h"

#include "io/byte_stream.h"
#include "run_bench.h"

#include <chrono>

namespace indexcache {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print_rate(const char* what, const std::string& text, std::size_t ids, double seconds) {
  fmt::print("{:<24} {:6.1f} MB/s  {:.2f} M tokens/s\n", what,
             static_cast<double>(text.size()) / 1e6 / seconds,
             static_cast<double>(ids) / 1e6 / seconds);
}

int bench(const char* tokenizer_path, const char* text_path) {
  auto start = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = Tokenizer::open(tokenizer_path);
  fmt::print("{:<24} {:6.3f} s, {} tokens\n", "loading", seconds_since(start),
             tokenizer.largest_id() + 1);
  const auto stream = open_stream(text_path);
  const std::string text = read_all(*stream);
  std::vector<TokenId> ids;

  // Pieces of a few kilobytes, as documents are; a fresh scratch forgets.
  constexpr std::size_t kPiece = 4096;
  start = std::chrono::steady_clock::now();
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.find(' ', at + kPiece), text.size());
    Tokenizer::Scratch fresh;
    tokenizer.encode(std::string_view(text).substr(at, end - at), fresh, ids);
    at = end;
  }
  print_rate("new documents of 4 KB", text, ids.size(), seconds_since(start));

  Tokenizer::Scratch scratch;
  for (const char* what : {"one document", "the same again"}) {
    ids.clear();
    start = std::chrono::steady_clock::now();
    tokenizer.encode(text, scratch, ids);
    print_rate(what, text, ids.size(), seconds_since(start));
  }
  return 0;
}

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  return indexcache::run_bench(argc, argv, "bench_tokenizer TOKENIZER.json TEXT",
                               indexcache::bench);
}
