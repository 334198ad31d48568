// SPDX-License-Identifier: Apache-2.0
// Conversations as the models of a family read them. A checkpoint's own template is a program
// (Jinja) and is not run; five formats are built in, everything else must be rendered before.
//
//   deepseek-v3.2  the encoding that DeepSeek publishes with DeepSeek-V3.2 in place of a template
//   glm-5, glm-5.1, glm-5.2, glm-5.3   the chat templates of these releases, at their defaults
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
  // One of the five; throws UsageError for another name.
  static ChatFormat named(std::string_view name);

  // The family whose role markers are all among the added tokens; nullopt for any other tokenizer.
  // The GLM releases have the same markers, and this is glm-5: text/chat_choice.h distinguishes
  // them.
  static std::optional<ChatFormat> of(const Tokenizer& tokenizer);

  const char* name() const;
  bool is_glm() const { return release_ != Release::deepseek_v32; }

  // Throws InputError unless every marker is an added token: it would fall into pieces.
  void check(const Tokenizer& tokenizer) const;

  // `messages` in the OpenAI notation -> text, markers included. Throws InputError with `where` and
  // the message's number for what cannot be rendered.
  std::string render(const Json& messages, const std::string& where) const;

 private:
  enum class Release { deepseek_v32, glm5, glm51, glm52, glm53 };

  explicit ChatFormat(Release release) : release_(release) {}

  Release release_;
};

// What the models of a family expect before every text, chat or not: DeepSeek's BOS, GLM's
// "[gMASK]<sop>"; nothing for a tokenizer that has neither.
std::vector<TokenId> family_start(const Tokenizer& tokenizer);

}  // namespace indexcache
