// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: every file of a corpus, then so many random changes of
// them, the same on every machine. What libFuzzer finds by coverage it does not; it keeps what was
// found from coming back, with any compiler.
//
//   fuzz_TARGET EXECUTIONS CORPUS_FOLDER
#include "fuzz/target.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace {

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t limit) {
  return limit == 0 ? 0 : random() % limit;
}

// What files of these kinds are made of.
constexpr const char* kWords[] = {"0",       "-1",   "1e999", "18446744073709551615",
                                  "null",    "true", "[]",    "{}",
                                  "\"\"",    "../",  "\n",    ",",
                                  ": ",      "[[[",  "\xff",  "F8_E4M3",
                                  "FSFS",    "&a",   "*a",    "- ",
                                  "\\u0000", "0x1p0"};

void change(std::string& text, const std::vector<std::string>& corpus, Random& random) {
  const std::size_t at = below(random, text.size() + 1);
  const std::size_t length = std::min(below(random, 16) + 1, text.size() - at);
  switch (below(random, 6)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(random());
      break;
    case 1:
      text.erase(at, length);
      break;
    case 2:
      text.insert(at, text.substr(below(random, text.size() + 1), 32));
      break;
    case 3:
      text.insert(at, kWords[below(random, std::size(kWords))]);
      break;
    case 4:
      text.replace(at, length, kWords[below(random, std::size(kWords))]);
      break;
    default: {
      const std::string& other = corpus[below(random, corpus.size())];
      text = text.substr(0, at) + other.substr(below(random, other.size() + 1));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s EXECUTIONS CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
    files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<std::string> corpus;
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) return std::fprintf(stderr, "error: no corpus in %s\n", argv[2]), 2;
  const auto execute = [](const std::string& text) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  for (const std::string& text : corpus) execute(text);
  Random random(1);
  const long executions = std::atol(argv[1]);
  for (long i = 0; i < executions; ++i) {
    std::string text = corpus[below(random, corpus.size())];
    for (std::size_t changes = below(random, 8) + 1; changes > 0; --changes) {
      change(text, corpus, random);
    }
    execute(text);
  }
  std::printf("%zu files and %ld changes of them\n", corpus.size(), executions);
  return 0;
}
