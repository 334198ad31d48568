// SPDX-License-Identifier: Apache-2.0
#include "text/chat_format.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"

#include <sstream>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string refusal(const ChatFormat& format, const std::string& messages) {
  try {
    return format.render(Json::parse(messages), "x.jsonl:1");
  } catch (const InputError& error) {
    return error.describe();
  }
}

// The golden GLM tokenizer with these added tokens.
Tokenizer with_added(const std::vector<std::string>& contents) {
  Json json = Json::parse(read_file(golden("tokenizers/glm_tokenizer.json")));
  for (const std::string& content : contents) {
    json["added_tokens"].push_back({{"id", 521 + json["added_tokens"].size()},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  const TempFolder folder;
  write_text(folder / "tokenizer.json", json.dump());
  return Tokenizer::open(folder.path());
}

}  // namespace

TEST_CASE("conversations read as the vendors' own code writes them") {
  std::istringstream lines(read_file(golden("../text/chat_cases.jsonl")));
  std::size_t cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const Json one = Json::parse(line);
    const ChatFormat format = ChatFormat::named(one["format"].get<std::string>());
    INFO(one["messages"].dump());
    CHECK(format.render(one["messages"], "here") == one["text"].get<std::string>());
  }
  CHECK(cases == 60);
}

TEST_CASE("content in parts and arguments as text read as plain content and objects") {
  const ChatFormat format = ChatFormat::named("glm-5");
  CHECK(refusal(format, R"([{"role": "user", "content": [{"type": "text", "text": "a"},
                                                          {"type": "text", "text": "b"}]}])") ==
        "[gMASK]<sop><|user|>ab");
  CHECK(refusal(format, R"([{"role": "assistant", "content": "x", "tool_calls": [{"function":
                            {"name": "f", "arguments": "{\"a\": 1}"}}]}])") ==
        "[gMASK]<sop><|assistant|></think>x<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value>"
        "</tool_call>");
}

TEST_CASE("what a built-in format cannot render is refused with the message's number") {
  const ChatFormat format = ChatFormat::named("deepseek-v3.2");
  CHECK_THAT(refusal(format, "[]"), Contains("not a list of messages"));
  CHECK_THAT(refusal(format, "{}"), Contains("not a list of messages"));
  CHECK_THAT(refusal(format, R"([{"role": "user", "content": "a"}, {"role": "critic"}])"),
             Contains("x.jsonl:1, message 2") && Contains("\"critic\" is not known"));
  CHECK_THAT(refusal(format, R"([{"role": "user"}])"), Contains("no \"content\""));
  CHECK_THAT(refusal(format, R"([{"role": "user", "content": 3}])"), Contains("neither text"));
  CHECK_THAT(refusal(format, R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
             Contains("neither text nor a list of text parts"));
  CHECK_THAT(refusal(format, R"([{"role": "system", "content": "a", "tools": [1]}])"),
             Contains("\"tools\" is not known") && Contains("render the conversations beforehand"));
  CHECK_THAT(refusal(format, R"([{"role": "tool", "content": "a"}])"),
             Contains("result without the call"));
  CHECK_THAT(refusal(format, R"([{"role": "assistant", "tool_calls": [{"id": 1}]}])"),
             Contains("no function name"));
  CHECK_THROWS_AS(ChatFormat::named("llama"), UsageError);
}

TEST_CASE("the family is told by the role markers among the added tokens") {
  const Tokenizer plain = with_added({});
  CHECK(!ChatFormat::of(plain));
  CHECK(family_start(plain).empty());
  CHECK_THROWS_AS(ChatFormat::named("glm-5").check(plain), InputError);
  const Tokenizer glm = with_added(
      {"[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"});
  REQUIRE(ChatFormat::of(glm));
  CHECK(std::string(ChatFormat::of(glm)->name()) == "glm-5");
  CHECK(family_start(glm) == std::vector<TokenId>{523, 524});
  const Tokenizer deepseek = with_added(
      {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"});
  REQUIRE(ChatFormat::of(deepseek));
  CHECK(std::string(ChatFormat::of(deepseek)->name()) == "deepseek-v3.2");
  CHECK(family_start(deepseek) == std::vector<TokenId>{523});
}
