// SPDX-License-Identifier: Apache-2.0
#include "calibration/account.h"

#include <filesystem>
#include <iterator>
#include <optional>

namespace indexcache {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 40;  // documents or tokens of one input
constexpr std::size_t kMostSources = 1 << 20;          // their sums stay far below 2^63

struct Counter {
  const char* key;
  std::int64_t SourceAccount::*count;
  bool rare = false;  // written only if it is not 0; files of earlier versions do not have it
};

constexpr Counter kDocuments[] = {
    {"read", &SourceAccount::read},
    {"used", &SourceAccount::used},
    {"truncated", &SourceAccount::truncated},
    {"dropped_empty", &SourceAccount::empty},
    {"dropped_invalid", &SourceAccount::invalid},
    {"dropped_too_short", &SourceAccount::too_short},
    {"dropped_duplicate", &SourceAccount::duplicate},
    {"not_needed", &SourceAccount::unused},
    {"with_replaced_characters", &SourceAccount::replaced, true},
};
constexpr Counter kTokens[] = {
    {"read", &SourceAccount::tokens_read},
    {"used", &SourceAccount::tokens_used},
};

Json to_json(const SourceAccount& account) {
  Json documents = Json::object();
  for (const auto& [key, count, rare] : kDocuments) {
    if (!rare || account.*count > 0) documents[key] = account.*count;
  }
  Json tokens = Json::object();
  for (const auto& [key, count, rare] : kTokens) tokens[key] = account.*count;
  return Json{{"input", account.input},
              {"files", account.files},
              {"documents", documents},
              {"tokens", tokens}};
}

SourceAccount source_from_json(const JsonField& field) {
  SourceAccount account{.input = field.at("input").text()};
  account.files = field.at("files").integer(0, kMost);
  const JsonField documents = field.at("documents");
  for (const auto& [key, count, rare] : kDocuments) {
    const auto stored = rare ? documents.find(key) : std::optional(documents.at(key));
    if (stored) account.*count = stored->integer(0, kMost);
  }
  const JsonField tokens = field.at("tokens");
  for (const auto& [key, count, rare] : kTokens) {
    account.*count = tokens.at(key).integer(0, kMost);
  }
  return account;
}

constexpr const char* kSides[] = {"search_sequences", "held_out_sequences"};

}  // namespace

SourceAccount DocumentAccount::total() const {
  SourceAccount sum;
  sum.input = "all";
  for (const SourceAccount& source : sources) {
    sum.files += source.files;
    for (const Counter& counter : kDocuments) sum.*counter.count += source.*counter.count;
    for (const Counter& counter : kTokens) sum.*counter.count += source.*counter.count;
  }
  return sum;
}

DocumentAccount without_folders(DocumentAccount account) {
  for (SourceAccount& source : account.sources) {
    const auto path = std::filesystem::path(source.input).lexically_normal();
    source.input = (path.has_filename() ? path : path.parent_path()).filename().string();
  }
  return account;
}

Json to_json(const DocumentAccount& account) {
  Json sources = Json::array();
  for (const SourceAccount& source : account.sources) sources.push_back(to_json(source));
  Json forms = Json::object();
  for (const auto& [form, count] : account.forms) forms[form] = count;
  const auto side = [&](int i) {
    return Json{{"wanted", account.wanted[i] > 0 ? Json(account.wanted[i]) : Json()},
                {"built", account.built[i]}};
  };
  Json json{{"sources", sources},
            {"total", to_json(account.total())},
            {"files_of_other_kinds", account.passed_over},
            {"made_from", forms},
            {"chat_format", account.chat_format.empty() ? Json() : Json(account.chat_format)},
            {"start", account.start},
            {"end", account.end},
            {"began_with_start", account.had_start},
            {"began_with_two_starts", account.double_start},
            {kSides[0], side(0)},
            {kSides[1], side(1)}};
  // Files of earlier versions do not have it.
  if (account.hidden > 0) json["hidden_files"] = account.hidden;
  return json;
}

DocumentAccount document_account_from_json(const JsonField& field) {
  DocumentAccount account;
  const auto sources = field.at("sources").elements();
  if (sources.size() > kMostSources) field.at("sources").fail("it has too many entries");
  for (const JsonField& source : sources) account.sources.push_back(source_from_json(source));
  field.at("total").require(to_json(account.total()));
  account.passed_over = field.at("files_of_other_kinds").integer(0);
  if (const auto hidden = field.find("hidden_files")) account.hidden = hidden->integer(0);
  for (const auto& [form, count] : field.at("made_from").members()) {
    account.forms.emplace_back(form, count.integer(0));
  }
  if (const auto format = field.nullable("chat_format")) account.chat_format = format->text();
  account.start = field.at("start").text();
  account.end = field.at("end").text();
  account.had_start = field.at("began_with_start").integer(0);
  account.double_start = field.at("began_with_two_starts").integer(0);
  for (std::size_t i = 0; i < std::size(kSides); ++i) {
    const JsonField side = field.at(kSides[i]);
    if (const auto wanted = side.nullable("wanted")) account.wanted[i] = wanted->count(1);
    account.built[i] = side.at("built").count();
  }
  return account;
}

}  // namespace indexcache
