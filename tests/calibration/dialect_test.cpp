// SPDX-License-Identifier: Apache-2.0
// Text and JSON as other systems write them.
#include "calibration/calibration_file.h"
#include "calibration/prepare.h"
#include "io/json_field.h"
#include "io/text_stream.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const Tokenizer& mini() {
  static const Tokenizer tokenizer = Tokenizer::open(data("dsa-mini"));
  return tokenizer;
}

PreparedSet prepared(const std::string& input, bool skip_invalid = false,
                     const std::string& separator = "") {
  PrepareOptions options;
  options.inputs = {input};
  options.packing.seq_len = 64;
  options.holdout = 0;
  options.skip_invalid = skip_invalid;
  options.separator = separator;
  return prepare(options, &mini(), 4096);
}

std::vector<std::vector<TokenId>> ids_of(const PreparedSet& set) {
  auto sequences = set.token_set(false).sequences;
  std::ranges::sort(sequences);
  return sequences;
}

}  // namespace

TEST_CASE("what Python writes beyond JSON is accepted where it is not used") {
  const TempFolder folder;
  write_text(folder / "plain.jsonl", "{\"text\": \"one two\"}\n{\"text\": \"three four\"}\n");
  write_text(folder / "python.jsonl",
             "{\"text\": \"one two\", \"meta\": {\"score\": NaN, \"max\": -Infinity}}\n"
             "{\"text\": \"three four\", \"title\": \"\\ud83d\", \"n\": 1e999}\n");
  const PreparedSet set = prepared(folder / "python.jsonl");
  CHECK(ids_of(set) == ids_of(prepared(folder / "plain.jsonl")));
  CHECK(set.report().total().replaced == 0);
  const auto refused = [&](const std::string& line) {
    write_text(folder / "x.jsonl", line);
    return refusal_of([&] { prepared(folder / "x.jsonl"); });
  };
  CHECK_THAT(refused("{\"text\": NaN}"), Contains("\"text\" is not a string, but NaN"));
  CHECK_THAT(refused("{\"input_ids\": [1, Infinity]}"),
             Contains("contains Infinity, not an integer"));
}

TEST_CASE("half an emoji becomes U+FFFD and is counted, also in the stored account") {
  const TempFolder folder;
  write_text(folder / "x.jsonl",
             "{\"text\": \"one \\ud83d\"}\n{\"text\": \"\\ude00 two\"}\n{\"text\": \"three "
             "\\ud83d\\ude00\"}\n{\"text\": \"four \\ufffd\"}\n");
  write_text(folder / "y.jsonl",
             "{\"text\": \"one \\ufffd\"}\n{\"text\": \"\\ufffd two\"}\n{\"text\": \"three "
             "\\ud83d\\ude00\"}\n{\"text\": \"four \\ufffd\"}\n");
  const PreparedSet set = prepared(folder / "x.jsonl");
  CHECK(ids_of(set) == ids_of(prepared(folder / "y.jsonl")));
  CHECK(set.report().total().replaced == 2);
  CHECK_THAT(to_text(set.report()), Contains("2 had half of a surrogate pair"));
  const Json json = to_json(set.report());
  CHECK(json["total"]["documents"]["with_replaced_characters"] == 2);
  const JsonSource source{"", "", ""};
  CHECK(document_account_from_json(JsonField(json, source)) == DocumentAccount(set.report()));
  CHECK(!to_json(prepared(folder / "y.jsonl").report())["total"]["documents"].contains(
      "with_replaced_characters"));
}

TEST_CASE("byte-order marks and line ends of Windows change no ids") {
  const TempFolder folder;
  const std::string mark = "\xEF\xBB\xBF";
  write_text(folder / "a.txt", "one\ntwo\n\nthree\r four\n");
  write_text(folder / "b.txt", mark + "one\r\ntwo\r\n\r\nthree\r four\r\n");
  CHECK(ids_of(prepared(folder / "a.txt")) == ids_of(prepared(folder / "b.txt")));
  CHECK(ids_of(prepared(folder / "a.txt", false, "\n\n")) ==
        ids_of(prepared(folder / "b.txt", false, "\n\n")));
  CHECK(prepared(folder / "b.txt", false, "\n\n").size(false) == 2);
  write_text(folder / "a.jsonl", "{\"text\": \"one\\r\\ntwo\"}\n\n{\"text\": \"three\"}\n");
  write_text(folder / "b.jsonl",
             mark + "{\"text\": \"one\\r\\ntwo\"}\r\n\r\n{\"text\": \"three\"}\r\n");
  CHECK(ids_of(prepared(folder / "a.jsonl")) == ids_of(prepared(folder / "b.jsonl")));
  // A "\r" at the end of a buffer waits for what follows it, whatever the alignment.
  for (std::size_t before = (1 << 18) - 3; before < (1 << 18) + 3; ++before) {
    write_text(folder / "c.txt", std::string(before, 'x') + "\r\n\r\r\nend\r");
    const auto stream = open_text_stream(folder / "c.txt", LineEnds::unix);
    CHECK(read_all(*stream) == std::string(before, 'x') + "\n\r\nend\r");
  }
}

TEST_CASE("UTF-16 and UTF-32 are named, with the command that converts them") {
  const TempFolder folder;
  const auto widened = [](const std::string& text, const std::string& mark, bool little) {
    std::string wide = mark;
    for (const char c : text) wide += little ? std::string{c, '\0'} : std::string{'\0', c};
    return wide;
  };
  const std::string line = "{\"text\": \"one two\"}\n";
  const std::pair<std::string, std::string> files[] = {
      {widened(line, "\xFF\xFE", true), "UTF-16"},
      {widened(line, "\xFE\xFF", false), "UTF-16"},
      {widened(line, "", true), "UTF-16LE"},
      {widened(line, "", false), "UTF-16BE"},
      {std::string("\xFF\xFE\0\0{\0\0\0", 8), "UTF-32"},
      {std::string("{\0\0\0\"\0\0\0", 8), "UTF-32LE"}};
  for (const char* name : {"x.jsonl", "x.txt"}) {
    for (const auto& [bytes, encoding] : files) {
      write_text(folder / name, bytes);
      CHECK_THAT(refusal_of([&] { prepared(folder / name); }),
                 Contains("the file is " + encoding + ", not UTF-8") &&
                     Contains("iconv -f " + encoding + " -t UTF-8") && Contains("--skip-invalid"));
    }
  }
  write_text(folder / "x.txt", "words of a text");
  const PreparedSet set = prepared(folder.path(), true);
  CHECK(set.size(false) == 1);
  CHECK(set.report().total().invalid == 1);
  CHECK_THAT(set.report().first_invalid, Contains("x.jsonl") && Contains("UTF-32LE"));
}

TEST_CASE("documents that were all dropped: the error says why the first one was") {
  const TempFolder folder;
  write_text(folder / "x.jsonl", "{\"text\": 1}\n{\"text\": 2}\n");
  CHECK_THAT(refusal_of([&] { prepared(folder / "x.jsonl", true); }),
             Contains("2 invalid") && Contains("the first invalid one: ") &&
                 Contains("x.jsonl:1: \"text\" is not a string"));
}
