// SPDX-License-Identifier: Apache-2.0
#include "calibration/prepare.h"

#include "calibration/calibration_file.h"
#include "core/error.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "support/catch.h"
#include "support/files.h"

#include <algorithm>
#include <set>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kVocabulary = 4096;

const Tokenizer& mini() {
  static const Tokenizer tokenizer = Tokenizer::open(data("dsa-mini"));
  return tokenizer;
}

PrepareOptions options_for(const std::vector<std::string>& inputs, std::int64_t seq_len) {
  PrepareOptions options;
  options.inputs = inputs;
  options.packing.seq_len = seq_len;
  options.holdout = 0;
  return options;
}

PreparedSet prepared(const PrepareOptions& options) {
  return prepare(options, &mini(), kVocabulary);
}

std::vector<TokenId> ids_of(std::string_view text, bool bos = true) {
  Tokenizer::Scratch scratch;
  std::vector<TokenId> ids;
  if (bos) ids.push_back(0);
  mini().encode(text, scratch, ids);
  return ids;
}

std::string refusal(const PrepareOptions& options) {
  try {
    prepared(options);
    return "accepted";
  } catch (const Error& error) {
    return error.describe();
  }
}

std::string refused_line(const std::string& line) {
  const TempFolder folder;
  write_text(folder / "x.jsonl", "{\"text\": \"fine words\"}\n" + line + "\n");
  return refusal(options_for({(folder / "x.jsonl").string()}, 64));
}

using Sequences = std::vector<std::vector<TokenId>>;

Sequences sorted(Sequences sequences) {
  std::ranges::sort(sequences);
  return sequences;
}

}  // namespace

TEST_CASE("every form of a document becomes the ids it should") {
  const TempFolder folder;
  write_text(folder / "a.jsonl",
             "{\"text\": \"one two\"}\n\n{\"prompt\": \"one \", \"completion\": \"three\"}\n"
             "{\"input_ids\": [5, 6, 7], \"text\": \"not this\"}\n{\"body\": \"x\", \"text\": "
             "\"<｜begin▁of▁sentence｜>marked\"}\n");
  const PreparedSet set = prepared(options_for({(folder / "a.jsonl").string()}, 64));
  CHECK(sorted(set.token_set(false).sequences) ==
        sorted({ids_of("one two"), ids_of("one three"), {5, 6, 7}, ids_of("marked")}));
  CHECK(set.report().had_start == 1);
  CHECK(set.report().double_start == 0);
  PrepareOptions field = options_for({(folder / "a.jsonl").string()}, 64);
  field.field = "body";
  field.skip_invalid = true;
  field.packing.min_length = 2;
  const PreparedSet body = prepared(field);
  CHECK(body.token_set(false).sequences == Sequences{ids_of("x")});
  CHECK(body.report().total().invalid == 3);
  CHECK_THAT(body.report().first_invalid, Contains("a.jsonl:1") && Contains("\"body\" is missing"));
}

TEST_CASE("text files are one document or cut at a separator") {
  const TempFolder folder;
  write_text(folder / "a.txt", "first part\n\nsecond\n\n\n\nthird");
  PrepareOptions options = options_for({(folder / "a.txt").string()}, 64);
  CHECK(prepared(options).token_set(false).sequences ==
        Sequences{ids_of("first part\n\nsecond\n\n\n\nthird")});
  options.separator = "\n\n";
  const PreparedSet set = prepared(options);
  CHECK(sorted(set.token_set(false).sequences) ==
        sorted({ids_of("first part"), ids_of("second"), ids_of("third")}));
  CHECK(set.report().total().empty == 1);
}

TEST_CASE("marks around a text: automatic, none, or named") {
  const TempFolder folder;
  write_text(folder / "a.txt", "some text");
  PrepareOptions options = options_for({(folder / "a.txt").string()}, 64);
  options.bos = "none";
  CHECK(prepared(options).token_set(false).sequences[0] == ids_of("some text", false));
  options.bos = options.eos = "<｜end▁of▁sentence｜>";
  auto expected = ids_of("some text", false);
  expected.insert(expected.begin(), 1);
  expected.push_back(1);
  CHECK(prepared(options).token_set(false).sequences[0] == expected);
  options.bos = "<s>";
  CHECK_THAT(refusal(options), Contains("\"<s>\" is not an added token") && Contains("--bos"));
  write_text(folder / "b.jsonl", "{\"input_ids\": [0, 0, 5]}");
  CHECK(prepared(options_for({(folder / "b.jsonl").string()}, 64)).report().double_start == 1);
}

TEST_CASE("what cannot be read is an error with file, line and column, or a counted drop") {
  CHECK_THAT(refused_line("{\"text\": \"a\" oops}"), Contains("x.jsonl:2:14") && Contains("JSON"));
  CHECK_THAT(refused_line("{\"text\": \"\xED\xA0\x80\"}"), Contains("x.jsonl:2:12"));
  CHECK_THAT(refused_line("{\"text\": \"\\ud80\"}"), Contains("x.jsonl:2:"));
  CHECK_THAT(refused_line("[1]"), Contains("not an object"));
  CHECK_THAT(refused_line("{\"body\": \"a\"}"), Contains("body") && Contains("--field"));
  CHECK_THAT(refused_line("{\"text\": 3}"), Contains("\"text\" is not a string"));
  CHECK_THAT(refused_line("{\"input_ids\": [4096]}"), Contains("token 0 is 4096"));
  CHECK_THAT(refused_line("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}"),
             Contains("role markers of no built-in one") && Contains("render"));
  CHECK_THAT(refused_line("{\"text\": \"a\", \"tools\": [1]}"), Contains("\"tools\""));
  const TempFolder folder;
  write_text(folder / "x.txt", "good\xFF");
  CHECK_THAT(refusal(options_for({(folder / "x.txt").string()}, 64)),
             Contains("x.txt: document 1") && Contains("byte 4 is 0xff"));
}

TEST_CASE("every document is accounted for") {
  const TempFolder folder;
  const std::string words = "one two three four five six seven eight nine ten eleven twelve";
  write_text(folder / "a.jsonl", "{\"text\": \"\"}\n{\"text\": \"" + words + "\"}\n{\"text\": \"" +
                                     words +
                                     "\"}\n{\"text\": \"no\"}\n{\"text\": 1}\n{\"text\": \"" +
                                     words + " more\"}\n{\"text\": \"" + words + " again\"}\n");
  PrepareOptions options = options_for({(folder / "a.jsonl").string()}, 8);
  options.packing.min_length = 4;
  options.packing.sequences = 2;
  options.skip_invalid = true;
  const SourceAccount all = prepared(options).report().total();
  CHECK(all.read == 7);
  CHECK(all.empty == 1);
  CHECK(all.duplicate == 1);
  CHECK(all.too_short == 1);
  CHECK(all.invalid == 1);
  CHECK(all.used == 2);
  CHECK(all.truncated == 2);
  CHECK(all.unused == 1);
  CHECK(all.tokens_used == 16);
  CHECK(all.read ==
        all.empty + all.duplicate + all.too_short + all.invalid + all.used + all.unused);
  options.packing.sequences = 4;
  CHECK_THAT(refusal(options), Contains("3 of 4 sequences") && Contains("--allow-shortfall"));
  options.allow_shortfall = true;
  CHECK(prepared(options).size(false) == 3);
  options.packing.min_length = 8;
  options.packing.seq_len = 500;
  options.packing.packing = Packing::concat;
  CHECK_THAT(refusal(options), Contains("0 of 4 sequences"));
}

TEST_CASE("settings that contradict each other are refused") {
  const auto refused = [](auto change) {
    PrepareOptions options = options_for({data("dsa-mini/calibration.jsonl").string()}, 512);
    change(options);
    return refusal(options);
  };
  CHECK_THAT(refused([](auto& o) { o.packing.seq_len = 1; }), Contains("--seq-len 1"));
  CHECK_THAT(refused([](auto& o) { o.packing.min_length = 600; }), Contains("--min-length 600"));
  CHECK_THAT(refused([](auto& o) { o.weights = {1, 2}; }), Contains("2 weights"));
  CHECK_THAT(refused([](auto& o) { o.weights = {-1}; }), Contains("expected a positive number"));
  CHECK_THAT(refused([](auto& o) { o.strata = {5, 5}; }), Contains("not in increasing order"));
  CHECK_THAT(refused([](auto& o) { o.chat_format = "llama"; }), Contains("llama"));
  CHECK_THAT(refused([](auto& o) { o.chat_format = "glm-5"; }), Contains("added tokens"));
  CHECK_THAT(refused([](auto& o) { o.inputs = {"/no/such/*.txt"}; }), Contains("no file matches"));
  CHECK_THAT(refused([](auto& o) {
               o.packing.sequences = 1;
               o.holdout = 0.5;
             }),
             Contains("one sequence cannot be split"));
}

TEST_CASE("a prepared file gives back the same sequences, sides and origins") {
  const TempFolder folder;
  for (const Packing packing : {Packing::none, Packing::concat, Packing::documents}) {
    PrepareOptions options = options_for({data("dsa-mini/calibration.jsonl").string()}, 700);
    options.packing.packing = packing;
    options.packing.long_documents = LongDocuments::split;
    options.packing.min_length = 20;
    options.holdout = 0.3;
    const PreparedSet set = prepared(options);
    write_calibration(folder / "c.h5", set, &mini(), "here");
    const StoredTokens stored = read_stored(folder / "c.h5");
    CHECK(stored.tokenizer_sha256 == mini().sha256());
    CHECK(subset(stored.tokens, stored.held_out, false).fingerprint() ==
          set.token_set(false).fingerprint());
    CHECK(subset(stored.tokens, stored.held_out, true).fingerprint() ==
          set.token_set(true).fingerprint());
    // Sequences of one document stay on one side, whichever way they are divided again.
    std::set<std::size_t> groups[2];
    for (std::size_t s = 0; s < stored.held_out.size(); ++s) {
      groups[stored.held_out[s]].insert(stored.tokens.groups[s]);
    }
    for (const std::size_t group : groups[0]) CHECK(groups[1].count(group) == 0);
    const StoredSequence sequence =
        read_sequence(folder / "c.h5", read_summary(folder / "c.h5"), 0, 10);
    CHECK(sequence.start.size() == 10);
    CHECK_THAT(sequence.documents.at(0), Contains("calibration.jsonl:"));
    // Equal calls write equal bytes.
    const std::string bytes = read_file(folder / "c.h5");
    PrepareOptions again = options;
    again.threads = 1;
    write_calibration(folder / "d.h5", prepared(again), &mini(), "here");
    CHECK(sha256(bytes) == sha256(read_file(folder / "d.h5")));
  }
}

TEST_CASE("with boundaries the model sees each document's part alone") {
  const TempFolder folder;
  write_text(folder / "a.jsonl",
             "{\"text\": \"one two three\"}\n{\"text\": \"four five six seven\"}\n");
  PrepareOptions options = options_for({(folder / "a.jsonl").string()}, 64);
  options.packing.packing = Packing::documents;
  const PreparedSet set = prepared(options);
  CHECK(set.size(false) == 1);
  CHECK(sorted(set.token_set(false).sequences) ==
        sorted({ids_of("one two three"), ids_of("four five six seven")}));
  write_calibration(folder / "c.h5", set, &mini(), "here");
  CHECK(sorted(read_tokens(folder / "c.h5").sequences) ==
        sorted({ids_of("one two three"), ids_of("four five six seven")}));
}

TEST_CASE("a sequence of 200,000 tokens goes through a file") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; text.size() < 1'300'000; ++i) text += "line " + std::to_string(i) + " of many\n";
  write_text(folder / "a.txt", text);
  const PreparedSet set = prepared(options_for({(folder / "a.txt").string()}, 200'000));
  REQUIRE(set.size(false) == 1);
  write_calibration(folder / "c.h5", set, &mini(), "here");
  auto expected = ids_of(text);
  REQUIRE(expected.size() > 200'000);
  expected.resize(200'000);
  CHECK(read_tokens(folder / "c.h5").sequences == Sequences{expected});
}

TEST_CASE("a prepared file that contradicts itself is refused") {
  const TempFolder folder;
  const auto refused = [&](auto change) {
    Hdf5Writer file(folder / "x.h5");
    file.create_rows("/tokens", 1, 4);
    file.write_row("/tokens", 0, {1, 2, 3, 4});
    file.write("/lengths", {1}, std::vector<std::int64_t>{4});
    change(file);
    file.attribute("pack", "none");
    file.close();
    try {
      read_stored(folder / "x.h5");
      return std::string("accepted");
    } catch (const InputError& error) {
      return error.describe();
    }
  };
  using Integers = std::vector<std::int64_t>;
  const auto described = [](Hdf5Writer& file, const Integers& spans) {
    file.attribute("schema", "indexcache-calibration/1");
    file.write("/holdout", {1}, Integers{0});
    file.write("/spans", {static_cast<std::int64_t>(spans.size()) / 5, 5}, spans);
    file.write_text("/description", "{}");
  };
  CHECK(refused([](auto&) {}) == "accepted");
  CHECK(refused([&](auto& f) { described(f, {0, 0, 0, 0, 4}); }) == "accepted");
  CHECK_THAT(refused([&](auto& f) {
               described(f, {0, 0, 0, 0, 3});
             }),
             Contains("the parts do not fill"));
  CHECK_THAT(refused([&](auto& f) { described(f, {3, 0, 0, 0, 4}); }), Contains("/spans"));
  CHECK_THAT(refused([&](auto& f) { described(f, {0, 1, 0, 0, 4}); }), Contains("/spans"));
  CHECK_THAT(refused([](auto& f) { f.attribute("schema", "indexcache-calibration/9"); }),
             Contains("indexcache-calibration/9"));
}
