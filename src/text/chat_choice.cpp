// SPDX-License-Identifier: Apache-2.0
#include "text/chat_choice.h"

#include "core/error.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "io/json.h"
#include "text/chat_format.h"

#include <fmt/format.h>

#include <array>

namespace indexcache {
namespace {

// What only the template of one release contains. The effort line distinguishes GLM-5.2 and later
// from their predecessors.
struct Release {
  const char* format;
  bool effort;
  std::array<std::string_view, 2> lines;
};

constexpr std::string_view kEffort = "<|system|>Reasoning Effort: {{";
constexpr std::array<Release, 4> kReleases{{
    {"glm-5", false, {"and reasoning_content -%}", "reasoning_content.strip()"}},
    {"glm-5.1", false, {"ns.thinking_indices", "and reasoning_content is defined -%}"}},
    {"glm-5.2",
     true,
     {"reasoning_effort == 'high' else 'max' -%}",
      "(clear_thinking is defined and not clear_thinking)"}},
    {"glm-5.3",
     true,
     {"reasoning_effort in ['low', 'high'] else 'max' -%}",
      "clear_thinking if clear_thinking is defined else false -%}"}},
}};

std::string without_comments(std::string_view text) {
  std::string kept;
  while (true) {
    const std::size_t begin = text.find("{#");
    kept += text.substr(0, begin);
    if (begin == text.npos) return kept;
    const std::size_t end = text.find("#}", begin + 2);
    if (end == text.npos) return kept;
    text.remove_prefix(end + 2);
  }
}

// The template in `folder` and the file that should contain it; no file if there is none.
struct Template {
  std::string text;
  std::string file;
};

// A text, or a list of named ones, of which "default" is for chats.
std::string template_of(const Json& config) {
  const Json value = config.is_object() ? config.value("chat_template", Json()) : Json();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return "";
  for (const Json& named : value) {
    if (!named.is_object() || named.value("name", Json()) != "default") continue;
    const Json text = named.value("template", Json());
    if (text.is_string()) return text.get<std::string>();
  }
  return "";
}

Template template_in(const std::filesystem::path& folder) {
  const std::filesystem::path jinja = folder / "chat_template.jinja";
  if (std::filesystem::is_regular_file(jinja)) return {read_file(jinja), jinja.string()};
  const std::filesystem::path config = folder / "tokenizer_config.json";
  if (!std::filesystem::is_regular_file(config)) return {};
  try {
    const std::string text = template_of(parse_foreign_json(read_file(config), config.string()));
    return text.empty() ? Template{} : Template{text, config.string()};
  } catch (const InputError&) {  // only conversations need it
    return {"", config.string()};
  }
}

}  // namespace

std::string glm_release(std::string_view chat_template) {
  const std::string text = without_comments(chat_template);
  const auto has = [&](std::string_view part) { return text.find(part) != text.npos; };
  for (const Release& release : kReleases) {
    if (has("[gMASK]<sop>") && has(kEffort) == release.effort && has(release.lines[0]) &&
        has(release.lines[1])) {
      return release.format;
    }
  }
  return "";
}

ChatChoice choose_chat_format(const Tokenizer& tokenizer, const std::filesystem::path& path) {
  const auto family = ChatFormat::of(tokenizer);
  if (!family) return {};
  if (!family->is_glm()) return {family->name(), ""};
  const bool folder = std::filesystem::is_directory(path);
  const Template found = template_in(folder ? model_folder(path) : path.parent_path());
  if (found.file.empty()) {
    return {"",
            "\"messages\" require a chat format; GLM-5, 5.1, 5.2 and 5.3 have different ones and "
            "the same role markers, and there is no chat_template.jinja next to the tokenizer: add "
            "it, or name the release with --chat-format"};
  }
  const std::string format = glm_release(found.text);
  if (!format.empty()) return {format, ""};
  return {"", fmt::format("\"messages\" require a chat format, and {} is not the template of "
                          "GLM-5, 5.1, 5.2 or 5.3; if it renders the same, name the release with "
                          "--chat-format",
                          found.file)};
}

}  // namespace indexcache
