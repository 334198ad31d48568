// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json may ask for, and what is refused.
#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "text/tokenizer.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json golden_json() {
  return Json::parse(read_file(golden("tokenizers/glm_tokenizer.json")));
}

Tokenizer open_json(const Json& json) {
  const TempFolder folder;
  write_text(folder / "tokenizer.json", json.dump());
  return Tokenizer::open(folder.path());
}

std::string refusal(const Json& json) {
  try {
    open_json(json);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

// The golden tokenizer with `value` at `pointer`.
std::string refused(const char* pointer, const Json& value) {
  Json json = golden_json();
  json[Json::json_pointer(pointer)] = value;
  return refusal(json);
}

std::vector<TokenId> ids_of(const Tokenizer& tokenizer, std::string_view text) {
  Tokenizer::Scratch scratch;
  std::vector<TokenId> ids;
  tokenizer.encode(text, scratch, ids);
  return ids;
}

}  // namespace

TEST_CASE("merges in both notations are the same tokenizer") {
  Json json = golden_json();
  const Tokenizer pairs = open_json(json);
  for (Json& merge : json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const Tokenizer strings = open_json(json);
  const std::string text = "Hello world, don't panic: 12345 中文 naïve";
  CHECK(ids_of(pairs, text) == ids_of(strings, text));
  CHECK(pairs.sha256() != strings.sha256());
}

TEST_CASE("what a tokenizer needs and the program lacks is named") {
  CHECK(refusal(golden_json()) == "accepted");
  CHECK_THAT(refused("/model/type", "Unigram"), Contains("model.type") && Contains("Unigram"));
  CHECK_THAT(refused("/model/dropout", 0.1), Contains("model.dropout"));
  CHECK_THAT(refused("/model/byte_fallback", true), Contains("model.byte_fallback"));
  CHECK_THAT(refused("/model/end_of_word_suffix", "</w>"), Contains("end_of_word_suffix"));
  CHECK_THAT(refused("/normalizer", {{"type", "NFKC"}}), Contains("NFKC"));
  CHECK_THAT(
      refused("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}}),
      Contains("normalizers[0]") && Contains("Lowercase"));
  CHECK_THAT(refused("/pre_tokenizer", nullptr), Contains("pre_tokenizer"));
  CHECK_THAT(refused("/pre_tokenizer", {{"type", "Metaspace"}}), Contains("Metaspace"));
  CHECK_THAT(refused("/pre_tokenizer/pretokenizers/0/type", "Digits"), Contains("Digits"));
  CHECK_THAT(refused("/pre_tokenizer/pretokenizers/0/behavior", "Sideways"), Contains("Sideways"));
  CHECK_THAT(refused("/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "\\w"}}),
             Contains("pre_tokenizer, step 1") && Contains("\\w"));
  CHECK_THAT(refused("/post_processor", {{"type", "BertProcessing"}}), Contains("BertProcessing"));
  CHECK_THAT(refused("/model/vocab", Json::object({{"a", 0}})), Contains("not byte-level"));
}

TEST_CASE("a tokenizer that contradicts itself is refused") {
  CHECK_THAT(refused("/model/merges/0", "ab"), Contains("model.merges[0]"));
  CHECK_THAT(refused("/model/merges/0", {"a", "zzz"}),
             Contains("\"zzz\" is not in the vocabulary"));
  CHECK_THAT(refused("/model/vocab/a", 0), Contains("belongs to two tokens"));
  CHECK_THAT(refused("/model/vocab/a", "x"), Contains("not an integer"));
  CHECK_THAT(refused("/added_tokens/0/id", 900), Contains("reads as 521"));
  CHECK_THAT(refused("/added_tokens/1/content", "<|special|>"), Contains("listed twice"));
  CHECK_THAT(refused("/model", nullptr), Contains("model"));
  CHECK_THAT(refused("/model", 5), Contains("model"));
  CHECK_THAT(refused("/added_tokens", {1, 2}), Contains("added_tokens[0]"));
  CHECK_THAT(
      refused("/post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"Sequence", 3}}}}}),
      Contains("tokenizer.json"));
  CHECK_THAT(refused("/normalizer", 7), Contains("normalizer"));
  const TempFolder folder;
  write_text(folder / "tokenizer.json", "{\"model\": ");
  CHECK_THROWS_AS(Tokenizer::open(folder.path()), InputError);
  CHECK_THROWS_AS(Tokenizer::open(folder / "missing.json"), InputError);
}

TEST_CASE("text that is not UTF-8 is refused with its place") {
  const Tokenizer tokenizer = open_json(golden_json());
  Tokenizer::Scratch scratch;
  std::vector<TokenId> ids;
  CHECK_THROWS_WITH(tokenizer.encode("ab\xED\xA0\x80", scratch, ids),
                    Contains("byte 2 is 0xed") || Contains("UTF-8"));
}

TEST_CASE("special tokens, their ids and their text") {
  const Tokenizer tokenizer = open_json(golden_json());
  CHECK(tokenizer.added_token("<|special|>") == 521);
  CHECK(!tokenizer.added_token("special"));
  CHECK(tokenizer.is_special(521));
  CHECK(!tokenizer.is_special(522));
  CHECK(!tokenizer.is_special(70000));
  CHECK(tokenizer.largest_id() == 522);
  CHECK(tokenizer.decode(std::vector<TokenId>{521, 64, -1, 99999}) == "<|special|>a");
}
