// SPDX-License-Identifier: Apache-2.0
#include "text/chat_format.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "text/chat_choice.h"

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
  CHECK(cases == 194);
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
             Contains("x.jsonl:1, message 2") && Contains("unknown role \"critic\""));
  CHECK_THAT(refusal(format, R"([{"role": "user"}])"), Contains("no \"content\""));
  CHECK_THAT(refusal(format, R"([{"role": "user", "content": 3}])"), Contains("neither text"));
  CHECK_THAT(refusal(format, R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
             Contains("a part of the type \"image_url\", which is not text"));
  CHECK_THAT(refusal(format, R"([{"role": "system", "content": "a", "tools": [1]}])"),
             Contains("unknown field \"tools\"") && Contains("render the conversations to"));
  CHECK_THAT(refusal(format, R"([{"role": "tool", "content": "a"}])"),
             Contains("result without a preceding call"));
  CHECK_THAT(refusal(format, R"([{"role": "assistant", "tool_calls": [{"id": 1}]}])"),
             Contains("no function name"));
  CHECK_THROWS_AS(ChatFormat::named("llama"), UsageError);
}

namespace {

// Messages around one answer of the assistant's, with these fields as well.
std::string with_answer(const std::string& fields) {
  return R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b")" + fields +
         "}]";
}

std::string with_call(const std::string& call) {
  return R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, )" + call +
         R"(}, {"role": "tool", "content": "12:00"}])";
}

}  // namespace

TEST_CASE("what renders nothing is passed over, whatever its name") {
  for (const char* name : {"glm-5", "glm-5.1", "glm-5.2", "glm-5.3", "deepseek-v3.2"}) {
    const ChatFormat format = ChatFormat::named(name);
    const std::string plain = refusal(format, with_answer(""));
    for (const char* fields :
         {R"(, "annotations": [], "refusal": null, "audio": null, "function_call": null)",
          R"(, "weight": 0, "name": "bot", "id": "msg_1", "tool_call_id": "")",
          R"(, "annotations": [{"type": "url_citation", "url": "x"}])",
          R"(, "tool_calls": [], "reasoning": null, "reasoning_content": null, "future": {})",
          R"(, "prefix": false, "index": 3, "logprobs": {"content": []}, "finish_reason": "stop")",
          R"(, "score": NaN)"}) {
      INFO(fields);
      const Json messages = parse_foreign_json(with_answer(fields), "x");
      CHECK(format.render(messages, "x") == plain);
    }
    for (const char* fields : {R"("refusal": "no")", R"("prefix": true)", R"("audio": {"id": "a"})",
                               R"("future": "text")", R"("tools": [1])", R"("parts": ["b"])"}) {
      INFO(fields);
      CHECK_THAT(refusal(format, with_answer(std::string(", ") + fields)),
                 Contains("x.jsonl:1, message 2") && Contains("unknown field"));
    }
  }
}

TEST_CASE("roles, calls and reasoning under their other names") {
  for (const char* name : {"glm-5", "glm-5.1", "glm-5.2", "glm-5.3", "deepseek-v3.2"}) {
    const ChatFormat format = ChatFormat::named(name);
    INFO(name);
    CHECK(refusal(format,
                  R"([{"role": "developer", "content": "s"}, {"role": "user", "content": "a"}])") ==
          refusal(format,
                  R"([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}])"));
    const std::string none = refusal(
        format, with_call(R"("tool_calls": [{"function": {"name": "now", "arguments": {}}}])"));
    CHECK_THAT(none, Contains("now") && Contains("12:00"));
    for (const char* arguments : {R"("")", "null", R"("{}")", R"(" \n")", R"("null")"}) {
      INFO(arguments);
      CHECK(refusal(format, with_call(std::string(R"("tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "now", "arguments": )") +
                                      arguments + "}}]")) == none);
    }
    CHECK(refusal(format, with_call(R"("tool_calls": [{"function": {"name": "now"}}])")) == none);
    CHECK(refusal(format, with_call(R"("function_call": {"name": "now", "arguments": "{}"})")) ==
          none);
    std::string legacy = with_call(R"("function_call": {"name": "now", "arguments": ""})");
    legacy.replace(legacy.find(R"("role": "tool")"), 14, R"("role": "function", "name": "now")");
    CHECK(refusal(format, legacy) == none);
    CHECK(refusal(format, with_answer(R"(, "reasoning": "why")")) ==
          refusal(format, with_answer(R"(, "reasoning_content": "why")")));
    CHECK_THAT(refusal(format, with_answer(R"(, "reasoning": "a", "reasoning_content": "b")")),
               Contains("differ"));
    CHECK_THAT(refusal(format, with_call(R"("tool_calls": [{"name": "f", "arguments": "[1]"}])")),
               Contains("not an object, but a list"));
    CHECK_THAT(
        refusal(format, with_call(R"("tool_calls": [{"name": "f", "arguments": "{\"a\":"}])")),
        Contains("message 2, arguments"));
  }
}

TEST_CASE("a system message in the middle stays there, and parts give their texts") {
  const std::string messages = R"([{"role": "user", "content": "a"}, {"role": "assistant",
      "content": "b"}, {"role": "system", "content": "s"}, {"role": "user", "content": ["c",
      {"type": "input_text", "text": "d"}, {"type": "text", "text": null}]}])";
  CHECK(refusal(ChatFormat::named("glm-5"), messages) ==
        "[gMASK]<sop><|user|>a<|assistant|></think>b<|system|>s<|user|>cd");
  CHECK(refusal(ChatFormat::named("deepseek-v3.2"), messages) ==
        "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></think>b<｜end▁of▁sentence｜>s"
        "<｜User｜>cd<｜Assistant｜></think>");
  for (const char* part : {R"({"type": "image_url", "image_url": {"url": "data:"}})",
                           R"({"type": "input_audio"})", R"({"type": "file"})"}) {
    CHECK_THAT(refusal(ChatFormat::named("glm-5"),
                       R"([{"role": "user", "content": [{"type": "text", "text": "a"}, )" +
                           std::string(part) + "]}]"),
               Contains("message 1") && Contains("which is not text"));
  }
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

TEST_CASE("a GLM release is known by what only its chat template contains") {
  const std::string start = "[gMASK]<sop>\n", effort = "<|system|>Reasoning Effort: {{ x }}";
  const std::string first = start + "and reasoning_content -%}{{ reasoning_content.strip() }}";
  const std::string second =
      start + "{{ ns.thinking_indices }}and reasoning_content is defined -%}";
  CHECK(glm_release(first) == "glm-5");
  CHECK(glm_release(second) == "glm-5.1");
  CHECK(glm_release(first + effort).empty());
  CHECK(glm_release(effort + second).empty());
  CHECK(glm_release(first.substr(start.size())).empty());
  CHECK(glm_release("{# " + first + " #}").empty());
  CHECK(glm_release(second + "{# a comment without an end " + effort) == "glm-5.1");
  CHECK(glm_release("").empty());
}
