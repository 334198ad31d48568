// SPDX-License-Identifier: Apache-2.0
// A stored document -> token ids.
#pragma once

#include "calibration/document_reader.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// What a document was made from.
enum class Form { text, messages, prompt, ids };
const char* name_of(Form form);

// "file:12" for a line, "file: element 3" of a .json file, "file: document 3" for a text, "file:
// sequence 0" for a row of an array.
std::string place_of(FileKind kind, const std::string& file, std::int64_t number);

// What text needs where there is no tokenizer, all of it: "--seq-len", and how to give it.
struct TextNeeds {
  std::string what = "a tokenizer";
  std::string remedy = "--tokenizer FILE: the tokenizer.json that belongs to the model";
};

struct ParserOptions {
  // Key of a .jsonl line that holds the text; empty: input_ids, messages, prompt + completion or
  // text, whichever is there.
  std::string field;
  // Absent: conversations are refused, with `chat_reason`.
  std::optional<ChatFormat> chat;
  std::string chat_reason;
  TextNeeds text_needs = {};
  // What is put before and after every text. A conversation has its format's own start.
  std::vector<TokenId> start;
  std::vector<TokenId> end;
  // Whether ids that are given get them too.
  bool mark_ids = false;
  std::int64_t vocabulary = 0;  // ids are below it
};

// An error that other documents of the same file will most likely have as well: no reason to skip
// them one by one.
class FormError : public InputError {
  using InputError::InputError;
};

struct ParsedDocument {
  std::vector<TokenId> ids;
  Form form = Form::text;
  bool had_start = false;     // it began with the start already, which was not put there again
  bool double_start = false;  // it begins with two starts of its own
  bool replaced = false;      // half a surrogate pair of it was read as U+FFFD
};

class DocumentParser {
 public:
  // `tokenizer` may be null, when nothing but ids is read.
  DocumentParser(const Tokenizer* tokenizer, ParserOptions options);

  // `where` is the file; the place in it is added. Throws InputError for broken JSON
  // (file:line:column), text that is not UTF-8 and ids outside the vocabulary, FormError for
  // documents of a form that is not read.
  ParsedDocument parse(const RawDocument& raw, const std::string& file,
                       Tokenizer::Scratch& scratch) const;

 private:
  ParsedDocument parse_json(const RawDocument& raw, const std::string& file,
                            const std::string& where, Tokenizer::Scratch& scratch) const;
  ParsedDocument parse_object(const Json& json, const RawDocument& raw, const std::string& where,
                              Tokenizer::Scratch& scratch) const;
  [[noreturn]] void refuse_form(const Json& json, const RawDocument& raw, const std::string& where,
                                const std::string& why) const;
  ParsedDocument parse_ids(const Json& list, const std::string& where) const;
  ParsedDocument parse_prompt(const Json& json, const std::string& where,
                              Tokenizer::Scratch& scratch) const;
  // `problem` is completed by what text needs. Throws FormError without a tokenizer.
  void require_tokenizer(const char* problem, const std::string& where) const;
  ParsedDocument of_text(std::string_view text, Form form, const std::string& where,
                         Tokenizer::Scratch& scratch) const;
  ParsedDocument of_messages(const Json& messages, const std::string& where,
                             Tokenizer::Scratch& scratch) const;
  ParsedDocument of_ids(const std::vector<std::int64_t>& ids, const std::string& where) const;
  void mark(ParsedDocument& document) const;

  const Tokenizer* tokenizer_;
  ParserOptions options_;
};

}  // namespace indexcache
