// SPDX-License-Identifier: Apache-2.0
// Conversations in the OpenAI notation, as servers and clients log them.
#pragma once

#include "io/json.h"

#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// One message, its fields checked.
struct Message {
  std::string role;  // system, user, assistant or tool
  std::string content;
  std::optional<std::string> reasoning;
  Json tool_calls = Json::array();  // [{"name": …, "arguments": {…}, "id": …}, …]
  std::string id;                   // of the call that it answers; empty if it has none
};

// Roles developer and function are system and tool; function_call is a tool call. Fields that are
// null, empty or false, numbers, and facts about a message such as its name or weight render
// nothing and are passed over. Throws InputError with `where` and the message's number for a field
// that holds anything else, for parts that are not text, and for what is no conversation.
std::vector<Message> read_messages(const Json& messages, const std::string& where);

}  // namespace indexcache
