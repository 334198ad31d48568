// SPDX-License-Identifier: Apache-2.0
// inspect of a prepared file: what it was made from and what a sequence begins with.
#include "calibration/calibration_file.h"
#include "commands.h"
#include "core/console.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/utf8.h"
#include "io/json_text.h"

#include <fmt/format.h>

#include <numeric>

namespace indexcache {
namespace {

constexpr std::int64_t kShownIds = 64;
constexpr std::size_t kShownDocuments = 5;

// The tokenizer that is named, or the recorded one while it is still what it was.
std::optional<Tokenizer> tokenizer_of(const CalibrationSummary& stored, const std::string& named) {
  if (!named.empty()) {
    Tokenizer tokenizer = Tokenizer::open(named);
    if (!stored.tokenizer_sha256.empty() && tokenizer.sha256() != stored.tokenizer_sha256) {
      throw InputError(
          {"the calibration file was prepared with a different tokenizer", named,
           fmt::format("sha256 {} …, recorded is {} …", tokenizer.sha256().substr(0, 12),
                       stored.tokenizer_sha256.substr(0, 12)),
           "--tokenizer FILE: the tokenizer it was prepared with"});
    }
    return tokenizer;
  }
  const Json& recorded = stored.description.at("tokenizer").at("path");
  if (!recorded.is_string() || !std::filesystem::exists(recorded.get<std::string>())) return {};
  Tokenizer tokenizer = Tokenizer::open(recorded.get<std::string>());
  if (tokenizer.sha256() != stored.tokenizer_sha256) return {};
  return tokenizer;
}

Json describe(const std::string& path, const CalibrationSummary& stored, std::int64_t index,
              const std::string& tokenizer_name) {
  const auto rows = std::ssize(stored.lengths);
  if (index >= rows) {
    throw UsageError({fmt::format("sequence {} does not exist", index), "--sequence",
                      fmt::format("the file has {} sequences, numbered from 0", rows), ""});
  }
  const auto row = static_cast<std::size_t>(index);
  const StoredSequence sequence = read_sequence(path, stored, row, kShownIds);
  const auto tokenizer = tokenizer_of(stored, tokenizer_name);
  Json shown{{"index", index},
             {"length", stored.lengths[row]},
             {"held_out", bool(stored.held_out[row])},
             {"documents", sequence.documents},
             {"ids", sequence.start},
             {"text", nullptr}};
  if (tokenizer) shown.at("text") = printable_utf8(tokenizer->decode(sequence.start));
  return Json{
      {"file", path},
      {"fingerprint", stored.fingerprint},
      {"tokenizer_sha256", stored.tokenizer_sha256},
      {"sequences", rows},
      {"tokens", std::accumulate(stored.lengths.begin(), stored.lengths.end(), std::int64_t{0})},
      {"settings", stored.description.at("settings")},
      {"files", stored.description.at("files")},
      {"report", stored.description.at("report")},
      {"sequence", shown}};
}

void print_token_line(const char* label, const std::string& text) {
  write_output("{:<13}{}\n", label, text);
}

void print_sequence(const Json& shown) {
  print_token_line("sequence",
                   fmt::format("{}: {} tokens, {}", shown.at("index").get<std::int64_t>(),
                               count_text(shown.at("length").get<std::int64_t>()),
                               shown.at("held_out").get<bool>() ? "held out" : "search"));
  const Json& documents = shown.at("documents");
  for (std::size_t d = 0; d < documents.size() && d < kShownDocuments; ++d) {
    print_token_line(d == 0 ? "  from" : "", documents[d].get<std::string>());
  }
  if (documents.size() > kShownDocuments) {
    print_token_line("", fmt::format("and {} more documents", documents.size() - kShownDocuments));
  }
  print_token_line("  ids", shown.at("ids").dump());
  print_token_line("  text",
                   shown.at("text").is_null()
                       ? "use --tokenizer FILE to decode it: the recorded one was not found"
                       : shown.at("text").dump());
}

void print_text(const Json& d) {
  const Json& report = d.at("report");
  const Json& settings = d.at("settings");
  const Json& total = report.at("total");
  print_token_line("file", d.at("file").get<std::string>());
  print_token_line("sequences",
                   fmt::format("{}: {} for the search, {} held out; {} tokens",
                               d.at("sequences").get<std::int64_t>(),
                               report.at("search_sequences").at("built").get<std::int64_t>(),
                               report.at("held_out_sequences").at("built").get<std::int64_t>(),
                               count_text(d.at("tokens").get<std::int64_t>())));
  print_token_line(
      "settings",
      fmt::format("seq-len {}, pack {}, long {}, min-length {}, seed {}, holdout {}",
                  settings.at("seq_len").get<std::int64_t>(),
                  settings.at("pack").get<std::string>(), settings.at("long").get<std::string>(),
                  settings.at("min_length").get<std::int64_t>(),
                  settings.at("seed").get<std::uint64_t>(), settings.at("holdout").get<double>()));
  print_token_line("documents",
                   fmt::format("{} of {} used, {} truncated",
                               total.at("documents").at("used").get<std::int64_t>(),
                               total.at("documents").at("read").get<std::int64_t>(),
                               total.at("documents").at("truncated").get<std::int64_t>()));
  for (const Json& file : d.at("files")) {
    print_token_line("", fmt::format("{}  sha256 {} …", file.at("path").get<std::string>(),
                                     file.at("sha256").get<std::string>().substr(0, 12)));
  }
  print_token_line("made from", json_text(report.at("made_from"), -1));
  const auto sha = d.at("tokenizer_sha256").get<std::string>();
  print_token_line("tokenizer", sha.empty() ? "none: the input was token ids" : "sha256 " + sha);
  print_token_line("fingerprint", d.at("fingerprint").get<std::string>());
  print_sequence(d.at("sequence"));
}

}  // namespace

int inspect_tokens(const std::string& path, std::int64_t sequence, const std::string& tokenizer,
                   const CommonOptions& common) {
  const CalibrationSummary stored = read_summary(path);
  try {
    const Json description = describe(path, stored, sequence, tokenizer);
    if (common.json) {
      write_output("{}\n", json_text(description, 1));
    } else {
      print_text(description);
    }
  } catch (const Json::exception& error) {
    throw InputError({"the description in the calibration file is invalid", path, error.what(),
                      "prepare it again: `indexcache-search prepare --help`"});
  }
  return 0;
}

}  // namespace indexcache
