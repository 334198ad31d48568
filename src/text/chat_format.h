// SPDX-License-Identifier: Apache-2.0
// Conversations as the models of a family read them. A checkpoint's own template is a program
// (Jinja) and is not run; two families are built in, everything else must be rendered before.
//
//   deepseek-v3.2  the encoding that DeepSeek publishes with DeepSeek-V3.2 in place of a template
//   glm-5          the chat template of GLM-5 and GLM-5.1
//
// Roles system, user, assistant and tool, `reasoning_content` and `tool_calls`. Texts of tools that
// a conversation may call ("tools") are prose of the vendor and are refused. docs/formats.md shows
// the result.
#pragma once

#include "io/json.h"
#include "text/tokenizer.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

class ChatFormat {
 public:
  // "deepseek-v3.2" or "glm-5"; throws UsageError for another name.
  static ChatFormat named(std::string_view name);

  // The family whose role markers are all among the added tokens; nullopt for any other tokenizer.
  static std::optional<ChatFormat> of(const Tokenizer& tokenizer);

  const char* name() const;

  // Throws InputError unless every marker is an added token: it would fall into pieces.
  void check(const Tokenizer& tokenizer) const;

  // `messages` in the OpenAI notation -> text, markers included. Throws InputError with `where` and
  // the message's number for what cannot be rendered.
  std::string render(const Json& messages, const std::string& where) const;

 private:
  enum class Family { deepseek_v32, glm5 };

  explicit ChatFormat(Family family) : family_(family) {}

  Family family_;
};

// What the models of a family expect before every text, chat or not: DeepSeek's BOS, GLM's
// "[gMASK]<sop>"; nothing for a tokenizer that has neither.
std::vector<TokenId> family_start(const Tokenizer& tokenizer);

}  // namespace indexcache
