// SPDX-License-Identifier: Apache-2.0
#include "calibration/document_parser.h"

#include "calibration/foreign_forms.h"
#include "core/error.h"
#include "core/quote.h"
#include "io/json.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

constexpr const char* kRemedy = "docs/calibration.md describes the supported calibration files";

constexpr const char* kRender =
    "render the conversations to \"text\" first, with the model's own template";
constexpr const char* kConvert = "convert them: jq -c '{}{}' FILE > NEW.jsonl";

[[noreturn]] void refuse_document(const std::string& where, const std::string& why,
                                  const char* remedy = kRemedy) {
  throw InputError({"the calibration file cannot be used", where, why, remedy});
}

bool starts_with(const std::vector<TokenId>& ids, std::size_t at,
                 const std::vector<TokenId>& start) {
  return !start.empty() && ids.size() >= at + start.size() &&
         std::equal(start.begin(), start.end(), ids.begin() + static_cast<std::ptrdiff_t>(at));
}

std::string keys_of(const Json& json) {
  constexpr int kMostKeys = 10;
  std::string keys;
  int count = 0;
  for (const auto& [key, value] : json.items()) {
    if (++count > kMostKeys) return keys + ", …";
    keys += (keys.empty() ? "" : ", ") + excerpt(key);
  }
  return keys.empty() ? "none" : keys;
}

const std::string& text_at(const Json& json, const std::string& key, const std::string& where) {
  if (!json.contains(key)) {
    refuse_document(where, fmt::format("the field {} is missing; the fields are: {}", quote(key),
                                       keys_of(json)));
  }
  if (!json[key].is_string()) {
    refuse_document(where,
                    fmt::format("{} is not a string, but {}", quote(key), described(json[key])));
  }
  return json[key].get_ref<const std::string&>();
}

// Whether a key has a value: writers of tables give every row every key.
bool holds(const Json& json, const char* key) {
  return json.contains(key) && !json[key].is_null();
}

// As Anthropic's notation has it.
[[noreturn]] void refuse_system(const RawDocument& raw, const std::string& where) {
  throw FormError(
      {"the documents are in an unsupported format", where,
       "\"system\" is a key of its own instead of the first message",
       fmt::format(kConvert, raw.in_list ? ".[] | " : "",
                   "{messages: ([{role: \"system\", content: .system}] + .messages)}")});
}

[[noreturn]] void refuse_value(const RawDocument& raw, const Json& json, const std::string& where) {
  const bool whole = raw.kind == FileKind::jsonl && raw.origin.number == 1 && json.is_array();
  refuse_document(where, "it is not an object, but " + described(json),
                  whole ? "--format json, which reads the elements of the list" : kRemedy);
}

}  // namespace

const char* name_of(Form form) {
  switch (form) {
    case Form::text:
      return "text";
    case Form::messages:
      return "messages";
    case Form::prompt:
      return "prompt + completion";
    default:
      return "token ids";
  }
}

std::string place_of(FileKind kind, const std::string& file, std::int64_t number) {
  if (kind == FileKind::jsonl) return fmt::format("{}:{}", file, number);
  if (kind == FileKind::json) return fmt::format("{}: element {}", file, number);
  if (kind == FileKind::text) return fmt::format("{}: document {}", file, number);
  return fmt::format("{}: sequence {}", file, number - 1);
}

DocumentParser::DocumentParser(const Tokenizer* tokenizer, ParserOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {}

ParsedDocument DocumentParser::parse(const RawDocument& raw, const std::string& file,
                                     Tokenizer::Scratch& scratch) const {
  if (raw.error) throw InputError(*raw.error);
  const std::string where = place_of(raw.kind, file, raw.origin.number);
  switch (raw.kind) {
    case FileKind::text:
      return of_text(raw.bytes, Form::text, where, scratch);
    case FileKind::jsonl:
    case FileKind::json:
      return parse_json(raw, file, where, scratch);
    default:
      return of_ids(raw.ids, where);
  }
}

ParsedDocument DocumentParser::parse_json(const RawDocument& raw, const std::string& file,
                                          const std::string& where,
                                          Tokenizer::Scratch& scratch) const {
  const JsonDocument json = parse_json_document(raw.bytes, {file, raw.line, raw.column}, kRemedy);
  if (!json.value.is_object()) refuse_value(raw, json.value, where);
  ParsedDocument document = parse_object(json.value, raw, where, scratch);
  document.replaced &= json.replaced > 0;
  return document;
}

ParsedDocument DocumentParser::parse_ids(const Json& list, const std::string& where) const {
  if (!list.is_array()) refuse_document(where, "\"input_ids\" is not a list");
  std::vector<std::int64_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer()) {
      refuse_document(where, "\"input_ids\" contains " + described(id) + ", not an integer");
    }
    ids.push_back(id.get<std::int64_t>());
  }
  return of_ids(ids, where);
}

ParsedDocument DocumentParser::parse_object(const Json& json, const RawDocument& raw,
                                            const std::string& where,
                                            Tokenizer::Scratch& scratch) const {
  if (!options_.field.empty()) {
    if (json.contains(options_.field) && !json[options_.field].is_string()) {
      refuse_form(json, raw, where, quote(options_.field) + " is not a string");
    }
    return of_text(text_at(json, options_.field, where), Form::text, where, scratch);
  }
  if (holds(json, "input_ids")) return parse_ids(json["input_ids"], where);
  for (const char* tools : {"tools", "functions"}) {
    if (json.contains(tools) && !json[tools].empty()) {
      refuse_document(where, fmt::format("no built-in chat format can render \"{}\"", tools),
                      kRender);
    }
  }
  if (holds(json, "messages")) {
    if (holds(json, "system")) refuse_system(raw, where);
    return of_messages(json["messages"], where, scratch);
  }
  if (holds(json, "prompt") && holds(json, "completion")) {
    return parse_prompt(json, where, scratch);
  }
  if (!holds(json, "text")) {
    refuse_form(json, raw, where,
                fmt::format("expected \"text\", \"messages\", \"prompt\" with \"completion\", or "
                            "\"input_ids\"; found: {}",
                            keys_of(json)));
  }
  return of_text(text_at(json, "text", where), Form::text, where, scratch);
}

void DocumentParser::refuse_form(const Json& json, const RawDocument& raw, const std::string& where,
                                 const std::string& why) const {
  if (const auto form = foreign_form(json, options_.chat.has_value())) {
    throw FormError({"the documents are in an unsupported format", where, form->what,
                     fmt::format(kConvert, raw.in_list ? ".[] | " : "", form->filter)});
  }
  std::string texts;  // the only field that is one
  int count = 0;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) continue;
    texts = key;
    ++count;
  }
  throw FormError(
      {"the calibration file cannot be used", where, why,
       count == 1 ? "--field " + excerpt(texts) : "--field NAME, if the text has a different key"});
}

ParsedDocument DocumentParser::parse_prompt(const Json& json, const std::string& where,
                                            Tokenizer::Scratch& scratch) const {
  const Json& prompt = json["prompt"];
  const Json& completion = json["completion"];
  if (prompt.is_array() && completion.is_array()) {
    Json messages = prompt;
    messages.insert(messages.end(), completion.begin(), completion.end());
    return of_messages(messages, where, scratch);
  }
  return of_text(text_at(json, "prompt", where) + text_at(json, "completion", where), Form::prompt,
                 where, scratch);
}

void DocumentParser::require_tokenizer(const char* problem, const std::string& where) const {
  if (tokenizer_ != nullptr) return;
  const TextNeeds& needs = options_.text_needs;
  throw FormError({problem + needs.what, where, "", needs.remedy});
}

ParsedDocument DocumentParser::of_text(std::string_view text, Form form, const std::string& where,
                                       Tokenizer::Scratch& scratch) const {
  require_tokenizer("text input requires ", where);
  ParsedDocument document;
  document.form = form;
  try {
    tokenizer_->encode(text, scratch, document.ids);
  } catch (const InputError& error) {
    throw InputError({error.problem().what, where, error.problem().why, error.problem().remedy});
  }
  document.replaced = text.find("\xEF\xBF\xBD") != text.npos;
  if (document.ids.empty()) return document;
  if (form == Form::messages) return document;  // the format has marked it
  mark(document);
  return document;
}

ParsedDocument DocumentParser::of_messages(const Json& messages, const std::string& where,
                                           Tokenizer::Scratch& scratch) const {
  require_tokenizer("conversations require ", where);
  if (!options_.chat) {
    throw FormError({"the calibration file cannot be used", where, options_.chat_reason, kRender});
  }
  return of_text(options_.chat->render(messages, where), Form::messages, where, scratch);
}

ParsedDocument DocumentParser::of_ids(const std::vector<std::int64_t>& ids,
                                      const std::string& where) const {
  ParsedDocument document;
  document.form = Form::ids;
  document.ids.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= options_.vocabulary) {
      throw InputError({"a token id is outside the vocabulary", where,
                        fmt::format("token {} is {}, but the vocabulary has ids from 0 to {}", i,
                                    ids[i], options_.vocabulary - 1),
                        "tokenize with the tokenizer that belongs to this model"});
    }
    document.ids.push_back(static_cast<TokenId>(ids[i]));
  }
  if (options_.mark_ids && !document.ids.empty()) {
    mark(document);
  } else if (starts_with(document.ids, 0, options_.start)) {
    document.double_start = starts_with(document.ids, options_.start.size(), options_.start);
  }
  return document;
}

void DocumentParser::mark(ParsedDocument& document) const {
  std::vector<TokenId>& ids = document.ids;
  document.had_start = starts_with(ids, 0, options_.start);
  document.double_start =
      document.had_start && starts_with(ids, options_.start.size(), options_.start);
  if (!document.had_start) ids.insert(ids.begin(), options_.start.begin(), options_.start.end());
  const std::vector<TokenId>& end = options_.end;
  const bool had_end =
      ids.size() >= end.size() && std::equal(end.rbegin(), end.rend(), ids.rbegin());
  if (!had_end) ids.insert(ids.end(), end.begin(), end.end());
}

}  // namespace indexcache
