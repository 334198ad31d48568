// SPDX-License-Identifier: Apache-2.0
#include "calibration/foreign_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace indexcache {
namespace {

// A value by a path such as "response.body"; null if it is absent.
const Json& at(const Json& json, std::string_view path) {
  static const Json kNull;
  const Json* value = &json;
  while (!path.empty()) {
    const std::string key(path.substr(0, path.find('.')));
    if (!value->is_object() || !value->contains(key)) return kNull;
    value = &(*value)[key];
    path.remove_prefix(std::min(path.size(), key.size() + 1));
  }
  return *value;
}

bool is_text(const Json& json, std::string_view path) {
  return at(json, path).is_string();
}

// A list whose first element is an object with a key, or with any if it is null.
bool is_list_with(const Json& json, std::string_view path, const char* key) {
  const Json& list = at(json, path);
  if (!list.is_array() || list.empty() || !list[0].is_object()) return false;
  return key == nullptr || list[0].contains(key);
}

std::string exchange(bool chat, const std::string& question, const std::string& answer) {
  if (!chat) return fmt::format("{{prompt: ({} + \"\\n\"), completion: {}}}", question, answer);
  return fmt::format(
      "{{messages: [{{role: \"user\", content: {}}}, {{role: \"assistant\", content: {}}}]}}",
      question, answer);
}

std::optional<ForeignForm> conversation(const Json& json, bool chat) {
  if (is_list_with(json, "conversations", "from")) {
    return ForeignForm{
        "it is a conversation in ShareGPT format (\"conversations\" with \"from\" and \"value\")",
        chat ? "{messages: [.conversations[] | {role: ({human: \"user\", gpt: \"assistant\"}"
               "[.from] // .from), content: .value}]}"
             : "{text: ([.conversations[].value] | join(\"\\n\\n\"))}"};
  }
  if (is_list_with(json, "conversations", "role")) {
    return ForeignForm{"its messages are named \"conversations\"", "{messages: .conversations}"};
  }
  if (is_list_with(json, "body.messages", nullptr)) {
    return ForeignForm{"it is a request of an OpenAI batch file (\"body\" with \"messages\")",
                       chat ? ".body" : "{text: ([.body.messages[].content] | join(\"\\n\\n\"))}"};
  }
  if (is_list_with(json, "response.body.choices", nullptr)) {
    return ForeignForm{"it is a response of an OpenAI batch file, an answer without its question",
                       "{text: .response.body.choices[0].message.content}"};
  }
  if (is_list_with(json, "request.messages", nullptr) &&
      is_list_with(json, "response.choices", nullptr)) {
    return ForeignForm{"it is a logged request with its response",
                       "{messages: (.request.messages + [.response.choices[0].message])}"};
  }
  if (is_list_with(json, "chosen", "role")) {
    return ForeignForm{"it is a preference (\"chosen\" and \"rejected\")", "{messages: .chosen}"};
  }
  return std::nullopt;
}

std::optional<ForeignForm> question_and_answer(const Json& json, bool chat) {
  for (const char* answer : {"output", "response"}) {
    if (is_text(json, "instruction") && is_text(json, answer)) {
      return ForeignForm{
          fmt::format("it is an instruction in Alpaca format (\"instruction\" and \"{}\")", answer),
          exchange(chat,
                   "([.instruction, .input // \"\"] | map(select(. != \"\")) | join(\"\\n\"))",
                   std::string(".") + answer)};
    }
  }
  for (const char* text : {"input", "question"}) {
    if (!is_text(json, "context") || !is_text(json, text)) continue;
    return ForeignForm{fmt::format("it is a question about a text (\"context\" and \"{}\")", text),
                       fmt::format("{{text: (.context + \"\\n\\n\" + .{})}}", text)};
  }
  static constexpr std::pair<const char*, const char*> kPairs[] = {
      {"prompt", "response"}, {"prompt", "chosen"},     {"prompt", "answer"},  {"prompt", "output"},
      {"question", "answer"}, {"question", "response"}, {"query", "response"}, {"input", "output"}};
  for (const auto& [question, answer] : kPairs) {
    if (!is_text(json, question) || !is_text(json, answer)) continue;
    return ForeignForm{fmt::format("it has a \"{}\" and its \"{}\"", question, answer),
                       exchange(chat, std::string(".") + question, std::string(".") + answer)};
  }
  return std::nullopt;
}

}  // namespace

std::optional<ForeignForm> foreign_form(const Json& json, bool chat) {
  if (!json.is_object()) return std::nullopt;
  if (auto form = conversation(json, chat)) return form;
  if (auto form = question_and_answer(json, chat)) return form;
  for (const char* key : {"data", "rows", "train", "examples"}) {
    if (!is_list_with(json, key, nullptr)) continue;
    return ForeignForm{fmt::format("its documents are in the list \"{}\"", key),
                       fmt::format(".{}[]", key)};
  }
  return std::nullopt;
}

}  // namespace indexcache
