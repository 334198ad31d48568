// SPDX-License-Identifier: Apache-2.0
// Which chat format a checkpoint's conversations have. The role markers among the tokenizer's added
// tokens tell families apart; the GLM releases have the same ones, and their chat template tells
// them apart.
#pragma once

#include "text/tokenizer.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace indexcache {

// A name for ChatFormat::named, or why there is none; both empty for a tokenizer of no family.
struct ChatChoice {
  std::string format;
  std::string why_not;
};

// `path` is what Tokenizer::open was given. The template next to tokenizer.json is
// chat_template.jinja, else "chat_template" in tokenizer_config.json.
ChatChoice choose_chat_format(const Tokenizer& tokenizer, const std::filesystem::path& path);

// The GLM release whose template reads so, by the lines in which the releases differ; empty for any
// other text.
std::string glm_release(std::string_view chat_template);

}  // namespace indexcache
