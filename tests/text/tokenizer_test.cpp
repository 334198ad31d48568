// SPDX-License-Identifier: Apache-2.0
// Token ids against those of Hugging Face tokenizers: golden cases, hard strings, real text.
#include "text/tokenizer.h"

#include "core/utf8.h"
#include "io/byte_stream.h"
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"

#include <cstdlib>
#include <span>
#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::filesystem::path beside(const std::string& name) {
  return golden("../text/" + name);
}

const char* const kTokenizers[] = {"tokenizers/deepseek_tokenizer.json",
                                   "tokenizers/glm_tokenizer.json"};

std::vector<TokenId> ids_of(const Tokenizer& tokenizer, std::string_view text,
                            Tokenizer::Scratch& scratch) {
  std::vector<TokenId> ids = tokenizer.prefix();
  tokenizer.encode(text, scratch, ids);
  ids.insert(ids.end(), tokenizer.suffix().begin(), tokenizer.suffix().end());
  return ids;
}

// Lines of JSON, unpacked.
std::vector<Json> lines_of(const std::filesystem::path& path) {
  const auto stream = open_stream(path);
  PieceReader reader(*stream, "\n");
  std::vector<Json> lines;
  for (std::string line; reader.next(line);) lines.push_back(Json::parse(line));
  return lines;
}

// Each variant replaces some keys of the golden GLM tokenizer.
std::vector<Tokenizer> variants(const TempFolder& folder) {
  const Json base = Json::parse(read_file(golden(kTokenizers[1])));
  std::vector<Tokenizer> tokenizers;
  for (const Json& changes : Json::parse(read_file(beside("variants.json")))) {
    Json changed = base;
    changed.update(changes);
    write_text(folder / "tokenizer.json", changed.dump());
    tokenizers.push_back(Tokenizer::open(folder.path()));
  }
  return tokenizers;
}

}  // namespace

TEST_CASE("golden token ids") {
  for (const std::string family : {"deepseek", "glm"}) {
    const Tokenizer tokenizer = Tokenizer::open(golden("tokenizers/" + family + "_tokenizer.json"));
    Tokenizer::Scratch scratch;
    const auto cases = lines_of(golden("tokenizers/" + family + "_cases.jsonl"));
    REQUIRE(cases.size() == 25);
    for (const Json& one : cases) {
      const auto text = one["text"].get<std::string>();
      INFO(family << ": " << one["text"].dump());
      const auto ids = ids_of(tokenizer, text, scratch);
      CHECK(ids == one["ids"].get<std::vector<TokenId>>());
      CHECK(tokenizer.decode(ids) == text);
    }
  }
}

TEST_CASE("10,400 hard strings: ids of Hugging Face tokenizers, and back again") {
  const TempFolder folder;
  std::vector<Tokenizer> tokenizers;
  for (const char* name : kTokenizers) tokenizers.push_back(Tokenizer::open(golden(name)));
  tokenizers.push_back(Tokenizer::open(data("dsa-mini")));
  const std::vector<Tokenizer> changed = variants(folder);
  std::vector<Tokenizer::Scratch> scratch(tokenizers.size());
  const auto strings = lines_of(beside("fuzz.jsonl.zst"));
  REQUIRE(strings.size() == 10400);
  std::size_t wrong = 0;
  for (std::size_t s = 0; s < strings.size() && wrong < 10; ++s) {
    const auto text = strings[s][0].get<std::string>();
    for (std::size_t t = 0; t <= tokenizers.size(); ++t) {
      const bool variant = t == tokenizers.size();
      Tokenizer::Scratch fresh;
      const Tokenizer& tokenizer = variant ? changed[s % changed.size()] : tokenizers[t];
      const auto ids = ids_of(tokenizer, text, variant ? fresh : scratch[t]);
      const auto expected = strings[s][t + 1].get<std::vector<TokenId>>();
      INFO("string " << s << ", tokenizer " << t << ", variant " << s % changed.size() << ": "
                     << strings[s][0].dump(-1, ' ', true));
      CHECK(ids == expected);
      if (!variant) CHECK(tokenizer.decode(ids) == text);
      wrong += ids != expected ? 1 : 0;
    }
  }
}

TEST_CASE("dsa-mini's whole calibration text: ids of Hugging Face tokenizers") {
  const Tokenizer tokenizer = Tokenizer::open(data("dsa-mini"));
  Tokenizer::Scratch scratch;
  const auto documents = lines_of(data("dsa-mini/calibration.jsonl"));
  std::istringstream expected(read_file(beside("calibration_ids.txt")));
  REQUIRE(documents.size() == 60);
  for (std::size_t d = 0; d < documents.size(); ++d) {
    const auto text = documents[d]["text"].get<std::string>();
    const auto ids = ids_of(tokenizer, text, scratch);
    std::size_t count = 0;
    std::string hash;
    expected >> count >> hash;
    INFO("document " << d);
    CHECK(ids.size() == count);
    CHECK(sha256(std::as_bytes(std::span(ids))) == hash);
    CHECK(tokenizer.decode(ids) == text);
  }
}

TEST_CASE("character classes hold the code points that Oniguruma puts into them") {
  const auto stream = open_stream(beside("unicode_classes.txt"));
  PieceReader reader(*stream, "\n");
  std::size_t classes = 0;
  for (std::string line; reader.next(line); ++classes) {
    std::istringstream words(line);
    std::string pattern, run;
    words >> pattern;
    std::vector<bool> expected(0x110000, false);
    while (words >> run) {
      char* end = nullptr;
      const auto first = std::strtoul(run.c_str(), &end, 16);
      const auto last = *end == '-' ? std::strtoul(end + 1, nullptr, 16) : first;
      std::fill(expected.begin() + static_cast<long>(first),
                expected.begin() + static_cast<long>(last) + 1, true);
    }
    const Regex regex(pattern, "test");
    Regex::Scratch scratch;
    std::size_t wrong = 0;
    for (char32_t point = 0; point < 0x110000; ++point) {
      if (point >= 0xD800 && point < 0xE000) continue;
      std::string text;
      append_utf8(text, point);
      wrong += regex.find(text, 0, scratch).has_value() != expected[point] ? 1 : 0;
    }
    INFO(pattern);
    // U+1171E moved from Mn to Mc between the versions.
    CHECK(wrong == (pattern == "\\p{Mn}" || pattern == "\\p{Mc}" ? 1 : 0));
  }
  CHECK(classes == 32);
}
