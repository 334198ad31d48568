// SPDX-License-Identifier: Apache-2.0
#include "text/messages.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace indexcache {
namespace {

constexpr const char* kRenderConversations =
    "render the conversations to \"text\" first, with the model's own template";

constexpr std::array<std::string_view, 6> kRendered{"role",      "content",    "reasoning_content",
                                                    "reasoning", "tool_calls", "function_call"};

// Facts about a message, which no template renders.
constexpr std::array<std::string_view, 14> kFacts{
    "name",     "tool_call_id", "id",        "weight",        "annotations",
    "model",    "created",      "timestamp", "finish_reason", "stop_reason",
    "logprobs", "usage",        "metadata",  "created_at"};

bool renders_nothing(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty() || value.is_number() || value == false;  // null is empty, too
}

// The id by which a result names its call, or a call itself; empty if there is none.
std::string id_of(const Json& json) {
  for (const char* name : {"tool_call_id", "id"}) {
    const Json id = json.value(name, Json());
    if (!renders_nothing(id)) return id.is_string() ? id.get<std::string>() : id.dump();
  }
  return "";
}

class MessageReader {
 public:
  explicit MessageReader(const std::string& where) : where_(where) {}

  std::vector<Message> read(const Json& messages) {
    if (!messages.is_array() || messages.empty()) fail("\"messages\" is not a list of messages");
    std::vector<Message> list;
    for (const Json& message : messages) {
      number_ = list.size() + 1;
      list.push_back(read_one(message));
    }
    return list;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    const std::string message = number_ == 0 ? "" : fmt::format(", message {}", number_);
    throw InputError(
        {"a conversation cannot be rendered", where_ + message, why, kRenderConversations});
  }

  Message read_one(const Json& json) const {
    if (!json.is_object()) fail("it is not an object");
    for (const auto& [key, value] : json.items()) {
      const bool known = std::ranges::count(kRendered, key) + std::ranges::count(kFacts, key) > 0;
      if (!known && !renders_nothing(value)) {
        fail(fmt::format("unknown field {}", quote(key)));
      }
    }
    Message message{role(json), text_of(json, "content"), reasoning(json), {}, id_of(json)};
    if (message.role == "user" && !json.contains("content")) fail("it has no \"content\"");
    message.tool_calls = calls(json);
    return message;
  }

  std::string role(const Json& json) const {
    std::string role = text_of(json, "role");
    if (role == "developer") return "system";
    if (role == "function") return "tool";
    static constexpr std::array<std::string_view, 4> kRoles{"system", "user", "assistant", "tool"};
    if (!std::ranges::count(kRoles, role)) {
      fail(role.empty() ? "it has no \"role\"" : fmt::format("unknown role {}", quote(role)));
    }
    return role;
  }

  // "reasoning" is the name that newer servers use.
  std::optional<std::string> reasoning(const Json& json) const {
    std::optional<std::string> found;
    if (!json.value("reasoning_content", Json()).is_null()) {
      found = text_of(json, "reasoning_content");
    }
    std::string other = text_of(json, "reasoning");
    if (other.empty() || found == other) return found;
    if (!found.value_or("").empty()) fail("\"reasoning_content\" and \"reasoning\" differ");
    return other;
  }

  // A string, or a list of parts of which all are text.
  std::string text_of(const Json& json, const char* name) const {
    const auto value = json.find(name);
    if (value == json.end() || value->is_null()) return "";
    if (value->is_string()) return value->get<std::string>();
    if (!value->is_array()) {
      fail(fmt::format("\"{}\" is neither text nor a list of text parts, but {}", name,
                       described(*value)));
    }
    std::string text;
    for (const Json& part : *value) text += part_text(part, name);
    return text;
  }

  // Requests have parts of type "text", the Responses API "input_text" and "output_text"; a refusal
  // is what an assistant said.
  std::string part_text(const Json& part, const char* name) const {
    if (part.is_string()) return part.get<std::string>();
    const Json type = part.is_object() ? part.value("type", Json()) : Json();
    if (!type.is_string()) fail(fmt::format("\"{}\" has a part without a type", name));
    if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") {
      fail(fmt::format("\"{}\" has a part of the type {}, which is not text", name,
                       described(type)));
    }
    const Json text = part.value(type == "refusal" ? "refusal" : "text", Json());
    if (!text.is_null() && !text.is_string()) {
      fail(fmt::format("\"{}\" has a part whose text is {}", name, described(text)));
    }
    return text.is_null() ? "" : text.get<std::string>();
  }

  Json calls(const Json& json) const {
    const Json list = json.value("tool_calls", Json());
    const Json legacy = json.value("function_call", Json());
    Json found = Json::array();
    if (!renders_nothing(list)) {
      if (!list.is_array()) fail("\"tool_calls\" is not a list");
      for (const Json& one : list) found.push_back(call(one));
    }
    if (!renders_nothing(legacy)) {
      if (!found.empty()) fail("it has both \"tool_calls\" and \"function_call\"");
      found.push_back(call(legacy));
    }
    return found;
  }

  Json call(const Json& json) const {
    const Json function = json.is_object() ? json.value("function", json) : Json();
    if (!function.is_object() || !function.value("name", Json()).is_string()) {
      fail("a tool call has no function name");
    }
    return {{"name", function["name"]}, {"arguments", arguments(function)}, {"id", id_of(json)}};
  }

  // Text of JSON, as models write it, or the object itself. A call without parameters may have
  // none.
  Json arguments(const Json& function) const {
    Json arguments = function.value("arguments", Json());
    if (arguments.is_string()) {
      const auto& text = arguments.get_ref<const std::string&>();
      arguments =
          text.find_first_not_of(" \t\r\n") == text.npos
              ? Json()
              : parse_foreign_json(text, fmt::format("{}, message {}, arguments", where_, number_),
                                   kRenderConversations);
    }
    if (arguments.is_null()) return Json::object();
    if (!arguments.is_object()) {
      fail("the arguments of a tool call are not an object, but " + described(arguments));
    }
    return arguments;
  }

  const std::string& where_;
  std::size_t number_ = 0;
};

}  // namespace

std::vector<Message> read_messages(const Json& messages, const std::string& where) {
  return MessageReader(where).read(messages);
}

}  // namespace indexcache
