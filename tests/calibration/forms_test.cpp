// SPDX-License-Identifier: Apache-2.0
// Documents in the forms that people have: lists in .json files, and well-known foreign ones.
#include "calibration/calibration_file.h"
#include "calibration/foreign_forms.h"
#include "calibration/prepare.h"
#include "io/json_values.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/refusal.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

PreparedSet prepared(const std::string& input, const std::string& field = "",
                     std::optional<FileKind> format = std::nullopt) {
  static const Tokenizer tokenizer = Tokenizer::open(data("dsa-mini"));
  PrepareOptions options;
  options.inputs = {input};
  options.packing.seq_len = 64;
  options.holdout = 0;
  options.field = field;
  options.format = format;
  return prepare(options, &tokenizer, 4096);
}

std::vector<std::vector<TokenId>> ids_of(const PreparedSet& set) {
  auto sequences = set.token_set(false).sequences;
  std::ranges::sort(sequences);
  return sequences;
}

class StringStream : public ByteStream {
 public:
  StringStream(std::string text, std::size_t at_a_time)
      : text_(std::move(text)), step_(at_a_time) {}
  std::size_t read(std::span<char> buffer) override {
    const std::size_t bytes = std::min({buffer.size(), step_, text_.size() - at_});
    std::copy_n(text_.begin() + static_cast<std::ptrdiff_t>(at_), bytes, buffer.begin());
    at_ += bytes;
    return bytes;
  }

 private:
  std::string text_;
  std::size_t step_;
  std::size_t at_ = 0;
};

// Values with their places, as "line:column text"; an error is the last one.
std::vector<std::string> values_of(const std::string& text, std::size_t step) {
  StringStream stream(text, step);
  JsonValueReader reader(stream, "x");
  std::vector<std::string> values;
  std::string value;
  JsonPlace place;
  try {
    while (reader.next(value, place)) {
      values.push_back(std::to_string(place.line) + ":" + std::to_string(place.column) + " " +
                       value);
    }
  } catch (const InputError& error) {
    values.push_back(error.problem().where + " " + error.problem().why);
  }
  return values;
}

using Values = std::vector<std::string>;

}  // namespace

TEST_CASE("values of a JSON file, in a list or after one another, are found where they are") {
  for (const std::size_t step : {1, 2, 7, 1000}) {
    CHECK(values_of(" [ {\"a\": \"]\\\"}\"},\n  [1, [2]] ,3,\"x,\" ]\n", step) ==
          Values{"1:4 {\"a\": \"]\\\"}\"}", "2:3 [1, [2]]", "2:13 3", "2:15 \"x,\""});
    CHECK(values_of("{\"a\": 1}\r\n\n{\n\"b\": 2\n} {}", step) ==
          Values{"1:1 {\"a\": 1}", "3:1 {\n\"b\": 2\n}", "5:3 {}"});
    CHECK(values_of("", step).empty());
    CHECK(values_of(" [ ] ", step).empty());
    CHECK(values_of("[{}", step) == Values{"1:2 {}", "x:1:4 the file ends inside a list"});
    CHECK(values_of("[{} {}]", step).back() == "x:1:5 a comma or the end of the list is missing");
    CHECK(values_of("[1] 2", step).back() == "x:1:5 unexpected text after the list");
    CHECK(values_of("{\"a\": \"torn", step) == Values{"1:1 {\"a\": \"torn"});
    CHECK(values_of("]", step).size() == 1);
  }
}

TEST_CASE("a .json file is read as its elements, with their places") {
  const TempFolder folder;
  write_text(folder / "a.jsonl", "{\"text\": \"one two\"}\n{\"text\": \"three\"}\n");
  write_text(folder / "a.json",
             "\xEF\xBB\xBF[\n  {\"text\": \"one two\"},\n  {\n  \"text\": \"three\"\n}]");
  write_text(folder / "b.json", "{\"text\": \"one two\"}\n{\"text\": \"three\"}\n");
  const auto ids = ids_of(prepared(folder / "a.jsonl"));
  CHECK(ids_of(prepared(folder / "a.json")) == ids);
  CHECK(ids_of(prepared(folder / "b.json")) == ids);
  CHECK(ids_of(prepared(folder / "a.jsonl", "", FileKind::json)) == ids);
  const auto refused = [&](const std::string& text) {
    write_text(folder / "x.json", text);
    return refusal_of([&] { prepared(folder / "x.json"); });
  };
  CHECK_THAT(refused("[{\"text\": \"a\"},\n {\"text\":\n  oops}]"), Contains("x.json:3:3\n"));
  CHECK_THAT(refused("[{\"text\": \"a\"}, 7]"), Contains("x.json: element 2") && Contains("but 7"));
  CHECK_THAT(refused("[{\"text\": \"a\"}"), Contains("x.json:1:15") && Contains("inside a list"));
  write_text(folder / "list.jsonl", "[{\"text\": \"one two\"}, {\"text\": \"three\"}]");
  CHECK_THAT(refusal_of([&] { prepared(folder / "list.jsonl"); }), Contains("try: --format json"));
  CHECK(ids_of(prepared(folder / "list.jsonl", "", FileKind::json)) == ids);
  write_text(folder / "ids.json", "[{\"input_ids\": [1, 2, 3]}, {\"input_ids\": [4, 5]}]");
  CHECK(read_stored(folder / "ids.json").tokens.sequences ==
        std::vector<std::vector<TokenId>>{{1, 2, 3}, {4, 5}});
}

TEST_CASE("the option --format decides what a file of any name holds, and is stored") {
  const TempFolder folder;
  write_text(folder / "DATA", "{\"text\": \"one two\"}");
  CHECK_THAT(refusal_of([&] { prepared(folder / "DATA"); }), Contains("unknown file type"));
  const PreparedSet set = prepared(folder / "DATA", "", FileKind::jsonl);
  CHECK(prepared(folder / "DATA", "", FileKind::text).token_set(false).longest() >
        set.token_set(false).longest());
  write_calibration(folder / "c.h5", set, nullptr, "");
  const CalibrationSummary summary = read_summary(folder / "c.h5");
  CHECK_THAT(read_sequence(folder / "c.h5", summary, 0, 4).documents.at(0), Contains("DATA:1"));
}

TEST_CASE("keys without values do not count") {
  const TempFolder folder;
  write_text(folder / "a.jsonl", "{\"text\": \"one two\"}\n");
  write_text(folder / "b.jsonl",
             "{\"input_ids\": null, \"messages\": null, \"prompt\": null, \"completion\": null, "
             "\"tools\": null, \"functions\": [], \"text\": \"one two\"}\n");
  CHECK(ids_of(prepared(folder / "b.jsonl")) == ids_of(prepared(folder / "a.jsonl")));
}

TEST_CASE("well-known foreign forms are named, with the line of jq that converts them") {
  const TempFolder folder;
  const auto refused = [&](const std::string& line, const std::string& field = "") {
    write_text(folder / "x.jsonl", line + "\n");
    return refusal_of([&] { prepared(folder / "x.jsonl", field); });
  };
  const std::string share = R"({"id": "1", "conversations": [{"from": "human", "value": "a"}]})";
  CHECK_THAT(refused(share), Contains("ShareGPT") && Contains("jq -c '{text: "));
  CHECK_THAT(refused(share, "conversations"), Contains("ShareGPT") && Contains("jq -c"));
  CHECK_THAT(refused(R"({"instruction": "a", "input": "", "output": "b"})"),
             Contains("Alpaca") && Contains("jq -c"));
  CHECK_THAT(refused(R"({"custom_id": "1", "body": {"messages": [{"role": "user"}]}})"),
             Contains("OpenAI batch") && Contains("jq -c"));
  CHECK_THAT(refused(R"({"data": [{"text": "a"}]})"), Contains("jq -c '.data[]'"));
  CHECK_THAT(refused(R"({"messages": [{"role": "user", "content": "a"}], "system": "s"})"),
             Contains("\"system\"") && Contains("jq -c"));
  CHECK_THAT(refused(R"({"content": "a", "id": 3})"), Contains("try: --field content\n"));
  CHECK_THAT(refused(R"({"content": "a", "id": "3"})"), Contains("try: --field NAME"));
  CHECK_THAT(refused(R"({"messages": [{"role": "user"}], "functions": [{"name": "f"}]})"),
             Contains("no built-in chat format can render \"functions\""));
  write_text(folder / "x.json", "[" + share + "]");
  CHECK_THAT(refusal_of([&] { prepared(folder / "x.json"); }), Contains("jq -c '.[] | {text: "));
}

TEST_CASE("every foreign form has a filter for chats and one for texts") {
  const char* documents[] = {
      R"({"conversations": [{"from": "human", "value": "a"}]})",
      R"({"conversations": [{"role": "user", "content": "a"}]})",
      R"({"body": {"messages": [{"role": "user", "content": "a"}]}})",
      R"({"response": {"body": {"choices": [{"message": {"content": "a"}}]}}})",
      R"({"request": {"messages": [{}]}, "response": {"choices": [{}]}})",
      R"({"chosen": [{"role": "user", "content": "a"}]})",
      R"({"instruction": "a", "response": "b"})",
      R"({"context": "a", "input": "b"})",
      R"({"question": "a", "answer": "b"})",
      R"({"input": "a", "output": "b"})",
      R"({"rows": [{"text": "a"}]})"};
  for (const char* document : documents) {
    INFO(document);
    for (const bool chat : {false, true}) {
      const auto form = foreign_form(Json::parse(document), chat);
      REQUIRE(form);
      CHECK(!form->what.empty());
      CHECK(form->filter.size() < 200);
      CHECK(form->filter.find('\'') == std::string::npos);  // it is printed in single quotes
    }
  }
  for (const char* document : {"{}", "[]", "7", R"({"body": "a"})", R"({"conversations": []})",
                               R"({"response": {"body": null}})", R"({"chosen": "a"})"}) {
    CHECK(!foreign_form(Json::parse(document), true));
  }
}
