// SPDX-License-Identifier: Apache-2.0
#include "calibration/calibration_file.h"
#include "core/error.h"
#include "io/hdf5.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Integers = std::vector<std::int64_t>;

template <typename Action>
std::string refusal(Action action) {
  try {
    action();
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::string refused_jsonl(const std::string& text) {
  const TempFolder folder;
  write_text(folder / "x.jsonl", text);
  return refusal([&] { read_tokens(folder / "x.jsonl"); });
}

TokenSet of_lengths(const std::vector<std::size_t>& lengths) {
  TokenSet set{"x", {}};
  for (std::size_t length : lengths) {
    set.sequences.emplace_back(length, static_cast<std::int32_t>(set.sequences.size()));
  }
  return set;
}

constexpr TokenLimits kLimits{
    .vocabulary = 10, .max_positions = 100, .index_topk = 8, .first_selecting_position = 8};

}  // namespace

TEST_CASE("HDF5 and JSONL of equal tokens are the same set") {
  const TempFolder folder;
  Hdf5Writer file(folder / "x.h5");
  file.write("tokens", {2, 3}, Integers{1, 2, 3, 4, 5, 0});
  file.write("lengths", {2}, Integers{3, 2});
  file.close();
  write_text(folder / "x.jsonl", "{\"input_ids\": [1, 2, 3]}\n\n{\"input_ids\": [4, 5]}\n");
  const TokenSet a = read_tokens(folder / "x.h5");
  const TokenSet b = read_tokens(folder / "x.jsonl");
  CHECK(a.sequences == std::vector<std::vector<std::int32_t>>{{1, 2, 3}, {4, 5}});
  CHECK(a.sequences == b.sequences);
  CHECK(a.fingerprint() == b.fingerprint());
  CHECK(a.tokens() == 5);
  CHECK(a.longest() == 3);
  CHECK(of_lengths({2, 1}).fingerprint() != of_lengths({1, 2}).fingerprint());
}

TEST_CASE("malformed lines name file, line and field") {
  CHECK_THAT(refused_jsonl("{\"input_ids\": [1]}\n{\"input_ids\": "), Contains("x.jsonl:2"));
  CHECK_THAT(refused_jsonl("{\"text\": \"hello\"}"), Contains("requires a tokenizer"));
  CHECK_THAT(refused_jsonl("{\"ids\": [1]}"), Contains("found: ids"));
  CHECK_THAT(refused_jsonl("{\"input_ids\": 3}"), Contains("not a list"));
  CHECK_THAT(refused_jsonl("{\"input_ids\": [1.5]}"), Contains("1.5"));
  CHECK_THAT(refused_jsonl("{\"input_ids\": [-1]}"), Contains("token 0 is -1"));
  CHECK_THAT(refused_jsonl("{\"input_ids\": [5000000000]}"), Contains("outside the vocabulary"));
  CHECK_THAT(refused_jsonl(""), Contains("no sequence"));
}

TEST_CASE("HDF5 of the wrong layout is refused") {
  const TempFolder folder;
  const auto refused = [&](auto write) {
    Hdf5Writer file(folder / "x.h5");
    write(file);
    file.close();
    return refusal([&] { read_tokens(folder / "x.h5"); });
  };
  CHECK_THAT(refused([](auto& f) { f.write("other", {1}, Integers{1}); }), Contains("is missing"));
  CHECK_THAT(refused([](auto& f) {
               f.write("tokens", {1, 1, 2}, Integers{1, 2});
             }),
             Contains("[sequences, length] or [length]"));
  CHECK_THAT(refused([](auto& f) {
               f.write("tokens", {1, 1}, std::vector<double>{1.0});
             }),
             Contains("not integers"));
  CHECK_THAT(refused([](auto& f) {
               f.write("tokens", {1, 2}, Integers{1, 2});
               f.write("lengths", {1}, Integers{3});
             }),
             Contains("3 is not between 0"));
  CHECK_THAT(refused([](auto& f) {
               f.write("tokens", {0, 4}, Integers{});
             }),
             Contains("no sequence"));
  CHECK_THAT(refusal([&] { read_tokens(folder / "x.csv"); }), Contains("file type"));
  CHECK_THAT(refusal([&] { read_tokens(folder / "missing.jsonl"); }), Contains("missing.jsonl"));
}

TEST_CASE("sequences that cannot tell patterns apart are refused or warned of") {
  CHECK(check_tokens(of_lengths({32, 40}), kLimits).empty());
  CHECK(check_tokens(of_lengths({31, 40}), kLimits).size() == 1);
  CHECK(check_tokens(of_lengths({8, 9}), kLimits).size() == 2);
  CHECK_THAT(refusal([] {
               check_tokens(of_lengths({8, 3}), kLimits);
             }),
             Contains("too short to tell patterns apart") && Contains("at least 32 tokens"));
  CHECK_THAT(refusal([] { check_tokens(of_lengths({50, 1}), kLimits); }), Contains("at least 2"));
  CHECK_THAT(refusal([] { check_tokens(of_lengths({101}), kLimits); }), Contains("101 tokens"));
  TokenSet set = of_lengths({40, 40});
  set.sequences[1][7] = 10;
  CHECK_THAT(refusal([&] { check_tokens(set, kLimits); }),
             Contains("sequence 1") && Contains("token 7 is 10"));
}

TEST_CASE("the hold-out takes evenly spaced sequences and leaves some on both sides") {
  const auto first_ids = [](const TokenSet& set) {
    std::vector<std::int32_t> ids;
    for (const auto& sequence : set.sequences) ids.push_back(sequence[0]);
    return ids;
  };
  const TokenSet set = of_lengths({5, 5, 5, 5, 5, 5, 5, 5});
  const auto [search, holdout] = split_holdout(set, 0.25);
  CHECK(first_ids(holdout) == std::vector<std::int32_t>{3, 7});
  CHECK(first_ids(search) == std::vector<std::int32_t>{0, 1, 2, 4, 5, 6});
  CHECK(split_holdout(set, 0.001).second.sequences.size() == 1);
  CHECK(split_holdout(set, 0.999).first.sequences.size() == 1);
  CHECK_THROWS_AS(split_holdout(of_lengths({5}), 0.5), InputError);
}
