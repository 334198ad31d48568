// SPDX-License-Identifier: Apache-2.0
#include "text/chat_format.h"

#include "core/error.h"
#include "core/utf8.h"
#include "text/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace indexcache {
namespace {

constexpr const char* kRenderFirst =
    "render the conversations to \"text\" first, with the model's own template";

// One past the last user's message: where the current answer begins. 0 without one.
std::size_t current_answer(const std::vector<Message>& messages) {
  std::size_t start = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "user") start = i + 1;
  }
  return start;
}

std::string value_text(const Json& value) {
  // Python's json.dumps puts spaces behind "," and ":".
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, inner] : value.items()) {
      text +=
          fmt::format("{}{}: {}", text.empty() ? "" : ", ", Json(key).dump(), value_text(inner));
    }
    return "{" + text + "}";
  }
  if (value.is_array()) {
    std::string text;
    for (const Json& inner : value) text += (text.empty() ? "" : ", ") + value_text(inner);
    return "[" + text + "]";
  }
  return value.is_number_float() ? described(value) : value.dump();
}

// What Python's str.strip() takes away.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string stripped(const std::string& text) {
  std::size_t first = text.size();
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size(); at += utf8_length(text, at)) {
    if (is_space(utf8_character(text, at))) continue;
    first = std::min(first, at);
    end = at + utf8_length(text, at);
  }
  return end == 0 ? "" : text.substr(first, end - first);
}

// --- DeepSeek-V3.2 -------------------------------------------------------------------------------

constexpr std::string_view kDeepSeekStart = "<｜begin▁of▁sentence｜>";
constexpr std::array<std::string_view, 4> kDeepSeekMarkers{kDeepSeekStart, "<｜end▁of▁sentence｜>",
                                                           "<｜User｜>", "<｜Assistant｜>"};

class DeepSeekRenderer {
 public:
  DeepSeekRenderer(const std::vector<Message>& messages, const std::string& where)
      : messages_(messages), where_(where), answer_(current_answer(messages)), thinks_(thinks()) {}

  std::string run() const {
    std::string text(kDeepSeekStart);
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const Message& message = messages_[i];
      if (message.role == "system") text += message.content;
      if (message.role == "user") {
        text += "<｜User｜>" + message.content + "<｜Assistant｜>" + answer_start(i + 1 == answer_);
      }
      if (message.role == "assistant") text += assistant(i);
      if (message.role == "tool") text += result(i);
    }
    return text;
  }

 private:
  // Thinking mode, when reasoning is given and no answer to the last question lacks it: earlier
  // reasoning is dropped in either mode.
  bool thinks() const {
    const bool any = std::ranges::any_of(
        messages_, [](const Message& message) { return !message.reasoning.value_or("").empty(); });
    for (std::size_t i = answer_; i < messages_.size(); ++i) {
      const Message& message = messages_[i];
      if (message.role == "assistant" && message.reasoning.value_or("").empty() &&
          message.tool_calls.empty()) {
        return false;
      }
    }
    return any;
  }

  std::string answer_start(bool current) const {
    return current && thinks_ ? "<think>" : "</think>";
  }

  std::string assistant(std::size_t i) const {
    const Message& message = messages_[i];
    std::string text;
    if (thinks_ && i >= answer_) text += message.reasoning.value_or("") + "</think>";
    text += message.content;
    if (!message.tool_calls.empty()) text += "\n\n" + calls(message.tool_calls);
    return text + "<｜end▁of▁sentence｜>";
  }

  static std::string calls(const Json& list) {
    std::string text = "<｜DSML｜function_calls>\n";
    for (const Json& call : list) {
      text += "<｜DSML｜invoke name=\"" + call["name"].get<std::string>() + "\">\n";
      std::string parameters;
      for (const auto& [key, value] : call["arguments"].items()) {
        parameters +=
            fmt::format("{}<｜DSML｜parameter name=\"{}\" string=\"{}\">{}</｜DSML｜parameter>",
                        parameters.empty() ? "" : "\n", key, value.is_string(),
                        value.is_string() ? value.get<std::string>() : value_text(value));
      }
      text += parameters + "\n</｜DSML｜invoke>\n";
    }
    return text + "</｜DSML｜function_calls>";
  }

  std::string result(std::size_t i) const {
    std::size_t caller = i;
    while (caller > 0 && messages_[caller].role == "tool") --caller;
    const std::size_t order = i - caller;
    const std::size_t calls = messages_[caller].tool_calls.size();
    if (messages_[caller].role != "assistant" || order > calls) {
      throw InputError({"a conversation cannot be rendered",
                        fmt::format("{}, message {}", where_, i + 1),
                        "it is a tool result without a preceding call", kRenderFirst});
    }
    std::string text = order == 1 ? "\n\n<function_results>" : "";
    text += "\n<result>" + messages_[i].content + "</result>";
    if (order == calls) text += "\n</function_results>\n\n" + answer_start(i + 1 >= answer_);
    return text;
  }

  const std::vector<Message>& messages_;
  const std::string& where_;
  std::size_t answer_;
  bool thinks_;
};

// --- GLM-5 to GLM-5.3 ----------------------------------------------------------------------------

constexpr std::string_view kGlmStart = "[gMASK]<sop>";
constexpr std::array<std::string_view, 6> kGlmMarkers{
    "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"};

// What an answer without (visible) reasoning begins with.
enum class GlmNoReasoning { closing_mark, both_marks_if_current, both_marks };

// How the releases' templates differ, at their defaults.
struct GlmRules {
  std::string_view header;  // after the start
  GlmNoReasoning none;
  bool strips;           // white space around reasoning; empty reasoning is none
  bool keeps_reasoning;  // of earlier answers
  bool sorts_results;    // into the order of the calls
};

constexpr std::string_view kGlmEffort = "<|system|>Reasoning Effort: Max";
constexpr GlmRules kGlm5{"", GlmNoReasoning::closing_mark, true, false, false};
constexpr GlmRules kGlm51{"", GlmNoReasoning::both_marks_if_current, false, false, false};
constexpr GlmRules kGlm52{kGlmEffort, GlmNoReasoning::both_marks, false, false, false};
constexpr GlmRules kGlm53{kGlmEffort, GlmNoReasoning::both_marks, false, true, true};

class GlmRenderer {
 public:
  GlmRenderer(const std::vector<Message>& messages, const GlmRules& rules)
      : messages_(messages), rules_(rules), answer_(current_answer(messages)) {}

  std::string run() const {
    std::string text = std::string(kGlmStart) + std::string(rules_.header);
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const Message& message = messages_[i];
      if (message.role == "assistant") {
        text += assistant(message, i >= answer_);
      } else if (message.role != "tool") {
        text += "<|" + message.role + "|>" + message.content;
      } else if (i == 0 || messages_[i - 1].role != "tool") {
        text += "<|observation|>";
        for (const Message* result : results(i)) {
          text += "<tool_response>" + result->content + "</tool_response>";
        }
      }
    }
    return text;
  }

 private:
  std::string assistant(const Message& message, bool current) const {
    std::optional<std::string> reasoning = message.reasoning;
    std::string content = message.content;
    // Reasoning may be in the content, between its marks.
    const std::size_t end = content.find("</think>");
    if (!reasoning && end != std::string::npos) {
      reasoning = content.substr(0, end);
      const std::size_t begin = reasoning->rfind("<think>");
      if (begin != std::string::npos) reasoning = reasoning->substr(begin + 7);
      content = content.substr(content.rfind("</think>") + 8);
    }
    std::string text = "<|assistant|>" + thoughts(reasoning, current) + stripped(content);
    for (const Json& call : message.tool_calls) {
      text += "<tool_call>" + call["name"].get<std::string>();
      for (const auto& [key, value] : call["arguments"].items()) {
        text += "<arg_key>" + key + "</arg_key><arg_value>" +
                (value.is_string() ? value.get<std::string>() : value_text(value)) + "</arg_value>";
      }
      text += "</tool_call>";
    }
    return text;
  }

  std::string thoughts(const std::optional<std::string>& reasoning, bool current) const {
    const std::string inner =
        rules_.strips ? stripped(reasoning.value_or("")) : reasoning.value_or("");
    const bool given = rules_.strips ? !reasoning.value_or("").empty() : reasoning.has_value();
    if (given && (current || rules_.keeps_reasoning)) return "<think>" + inner + "</think>";
    const bool both = rules_.none == GlmNoReasoning::both_marks ||
                      (rules_.none == GlmNoReasoning::both_marks_if_current && current);
    return both ? "<think></think>" : "</think>";
  }

  // The results in a row from message `first` on. They are sorted if every id is there, is unique
  // and, for a result, is that of a call.
  std::vector<const Message*> results(std::size_t first) const {
    std::vector<const Message*> given;
    for (std::size_t i = first; i < messages_.size() && messages_[i].role == "tool"; ++i) {
      given.push_back(&messages_[i]);
    }
    if (!rules_.sorts_results || first == 0 || messages_[first - 1].role != "assistant") {
      return given;
    }
    std::vector<const Message*> sorted;
    std::set<std::string> calls;
    for (const Json& call : messages_[first - 1].tool_calls) {
      const auto& id = call["id"].get_ref<const std::string&>();
      if (id.empty() || !calls.insert(id).second) return given;
      for (const Message* result : given) {
        if (result->id == id) sorted.push_back(result);
      }
    }
    std::set<std::string> answered;
    for (const Message* result : given) {
      if (!calls.contains(result->id) || !answered.insert(result->id).second) return given;
    }
    return sorted;
  }

  const std::vector<Message>& messages_;
  const GlmRules& rules_;
  std::size_t answer_;
};

template <std::size_t n>
std::vector<std::string_view> missing(const std::array<std::string_view, n>& markers,
                                      const Tokenizer& tokenizer) {
  std::vector<std::string_view> list;
  for (const std::string_view marker : markers) {
    if (!tokenizer.added_token(marker)) list.push_back(marker);
  }
  return list;
}

}  // namespace

std::vector<TokenId> family_start(const Tokenizer& tokenizer) {
  if (const auto bos = tokenizer.added_token(kDeepSeekStart)) return {*bos};
  const auto mask = tokenizer.added_token("[gMASK]");
  const auto sop = tokenizer.added_token("<sop>");
  if (mask && sop) return {*mask, *sop};
  return {};
}

ChatFormat ChatFormat::named(std::string_view name) {
  for (const Release release :
       {Release::deepseek_v32, Release::glm5, Release::glm51, Release::glm52, Release::glm53}) {
    const ChatFormat format(release);
    if (name == format.name()) return format;
  }
  throw UsageError({fmt::format("unknown chat format \"{}\"", name), "--chat-format", "",
                    "deepseek-v3.2, glm-5, glm-5.1, glm-5.2 or glm-5.3; render conversations of "
                    "other models to \"text\" first"});
}

std::optional<ChatFormat> ChatFormat::of(const Tokenizer& tokenizer) {
  if (missing(kDeepSeekMarkers, tokenizer).empty()) return ChatFormat(Release::deepseek_v32);
  if (missing(kGlmMarkers, tokenizer).empty()) return ChatFormat(Release::glm5);
  return std::nullopt;
}

const char* ChatFormat::name() const {
  switch (release_) {
    case Release::deepseek_v32:
      return "deepseek-v3.2";
    case Release::glm5:
      return "glm-5";
    case Release::glm51:
      return "glm-5.1";
    case Release::glm52:
      return "glm-5.2";
    case Release::glm53:
      break;
  }
  return "glm-5.3";
}

void ChatFormat::check(const Tokenizer& tokenizer) const {
  const auto absent =
      is_glm() ? missing(kGlmMarkers, tokenizer) : missing(kDeepSeekMarkers, tokenizer);
  if (absent.empty()) return;
  throw InputError({fmt::format("the tokenizer does not match the chat format {}", name()),
                    "--chat-format",
                    fmt::format("\"{}\" is not one of its added tokens", absent[0]), kRenderFirst});
}

std::string ChatFormat::render(const Json& messages, const std::string& where) const {
  const std::vector<Message> list = read_messages(messages, where);
  switch (release_) {
    case Release::deepseek_v32:
      return DeepSeekRenderer(list, where).run();
    case Release::glm5:
      return GlmRenderer(list, kGlm5).run();
    case Release::glm51:
      return GlmRenderer(list, kGlm51).run();
    case Release::glm52:
      return GlmRenderer(list, kGlm52).run();
    case Release::glm53:
      break;
  }
  return GlmRenderer(list, kGlm53).run();
}

}  // namespace indexcache
