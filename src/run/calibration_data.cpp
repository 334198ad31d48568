// SPDX-License-Identifier: Apache-2.0
#include "run/calibration_data.h"

#include "core/error.h"
#include "core/shell_quote.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace indexcache {
namespace {

bool cuts_sequences(const CalibrationOptions& options) {
  return options.prepare.packing.seq_len > 0;
}

// Of a sequence's worth of settings, the first that has no meaning for ready-made ids.
const char* idle_setting(const PrepareOptions& options) {
  const PackingOptions defaults, &packing = options.packing;
  if (packing.sequences != defaults.sequences) return "--sequences";
  if (packing.packing != defaults.packing) return "--pack";
  if (packing.long_documents != defaults.long_documents) return "--long";
  if (packing.min_length != defaults.min_length) return "--min-length";
  if (!options.weights.empty()) return "--input-weights";
  if (!options.strata.empty()) return "--strata";
  return nullptr;
}

// What became of the documents that a prepared file was made from.
std::optional<DocumentAccount> account_of(const StoredTokens& stored, const std::string& file) {
  if (!stored.description.is_object()) return std::nullopt;
  const JsonSource source{"the description in the calibration file is invalid",
                          file + ": /description", "prepare it again"};
  const auto report = JsonField(stored.description, source).find("report");
  return report ? std::optional(document_account_from_json(*report)) : std::nullopt;
}

// Held-out sequences that the search sees as well prove nothing.
void warn_of_shared_sequences(const CalibrationData& data, Progress& progress,
                              std::vector<std::string>& warnings) {
  const std::set<std::vector<std::int32_t>> seen(data.search.sequences.begin(),
                                                 data.search.sequences.end());
  const auto shared = std::ranges::count_if(
      data.holdout->sequences, [&](const auto& sequence) { return seen.contains(sequence); });
  if (shared == 0) return;
  warn(progress, warnings,
       fmt::format("{} of {} held-out sequences are also calibration sequences, so the "
                   "verification is not independent of the search",
                   shared, data.holdout->sequences.size()));
}

}  // namespace

TokenLimits token_limits(const ModelConfig& config) {
  return {config.vocabulary, config.max_positions, config.index_topk,
          config.first_selecting_position()};
}

Tokenizer open_tokenizer(const std::string& path, std::optional<std::int64_t> vocabulary) {
  Tokenizer tokenizer = Tokenizer::open(path);
  if (vocabulary && tokenizer.largest_id() >= *vocabulary) {
    throw InputError({"the tokenizer does not belong to the model", path,
                      fmt::format("its largest id is {}, but the model accepts only ids below {}",
                                  tokenizer.largest_id(), *vocabulary),
                      "--tokenizer FILE: the tokenizer.json that belongs to the model"});
  }
  return tokenizer;
}

CalibrationLoader::CalibrationLoader(const CalibrationOptions& options, const Model& model,
                                     std::string folder, int threads, Progress& progress,
                                     std::vector<std::string>& warnings)
    : options_(options),
      model_(model),
      folder_(std::move(folder)),
      threads_(threads),
      progress_(progress),
      warnings_(warnings) {}

bool CalibrationLoader::has_tokenizer() const {
  return !options_.tokenizer.empty() || !model_.tokenizer_sha256.empty();
}

StoredTokens CalibrationLoader::stored(const std::vector<std::string>& inputs) const {
  const std::string length =
      fmt::format("--seq-len N, at least four times index_topk: --seq-len {}",
                  4 * model_.config.first_selecting_position());
  TextNeeds text{"--seq-len", length};
  if (!has_tokenizer()) {
    text = {"--tokenizer and --seq-len",
            "--tokenizer FILE, because the model's folder has no tokenizer.json, and " + length};
  }
  const auto need_length = [&](const std::string& why) {
    throw UsageError({"the calibration data requires --seq-len", inputs[0], why, length});
  };
  if (const char* setting = idle_setting(options_.prepare)) {
    need_length(fmt::format("{} was given without --seq-len", setting));
  }
  const std::optional<FileKind> format = options_.prepare.format;
  const SourceFiles files = find_source_files(inputs, format);
  if (files.files.size() > 1)
    need_length(fmt::format("it consists of {} files", files.files.size()));
  if (files.files[0].kind == FileKind::text) {
    throw UsageError({"text input requires " + text.what, inputs[0], "", text.remedy});
  }
  StoredTokens stored = read_stored(files.files[0].path, format, text);
  const std::string& sha = stored.tokenizer_sha256;
  if (!sha.empty() && !model_.tokenizer_sha256.empty() && sha != model_.tokenizer_sha256) {
    throw InputError({"the calibration file was prepared with a different tokenizer", inputs[0],
                      fmt::format("sha256 {} …, the model's has {} …", sha.substr(0, 12),
                                  model_.tokenizer_sha256.substr(0, 12)),
                      fmt::format("prepare it again with --tokenizer {}", shell_quoted(folder_))});
  }
  return stored;
}

PreparedSet CalibrationLoader::prepared(const std::vector<std::string>& inputs, double holdout) {
  const bool own = options_.tokenizer.empty();
  // Without a tokenizer ids can still be read; text will say what is missing.
  if (!tokenizer_ && has_tokenizer()) {
    tokenizer_.emplace(
        open_tokenizer(own ? folder_ : options_.tokenizer, model_.config.vocabulary));
  }
  const std::string& own_sha = model_.tokenizer_sha256;
  if (tokenizer_ && !own_sha.empty() && tokenizer_->sha256() != own_sha) {
    warn(fmt::format("this tokenizer differs from the model's: sha256 {} …, the model's has {} …",
                     tokenizer_->sha256().substr(0, 12), own_sha.substr(0, 12)));
  }
  PrepareOptions options = options_.prepare;
  options.holdout = holdout;
  options.threads = threads_;
  if (inputs != options.inputs) {  // a file of its own: all of it
    options.inputs = inputs;
    options.packing.sequences = 0;
    options.weights.clear();
  }
  if (tokenizer_) resolve_chat_format(options, *tokenizer_, own ? folder_ : options_.tokenizer);
  PreparedSet set =
      prepare(options, tokenizer_ ? &*tokenizer_ : nullptr, model_.config.vocabulary,
              [&](std::int64_t documents, std::int64_t) {
                progress_.update("reading documents", static_cast<std::size_t>(documents), 0);
              });
  progress_.note(to_text(set.report()));
  check_chat_format(set.report().chat_format);
  if (set.report().double_start > 0) {
    warn(fmt::format("{} documents begin with two BOS tokens", set.report().double_start));
  }
  return set;
}

// A format of another family renders conversations that the model has not seen so.
void CalibrationLoader::check_chat_format(const std::string& format) {
  if (format.empty()) return;  // no conversation was rendered
  const Family& family = *model_.config.family;
  std::vector<std::string> own;
  for (const char* name : family.chat_formats) {
    if (name != nullptr) own.emplace_back(name);
  }
  if (own.empty() || std::ranges::find(own, format) != own.end()) return;
  warn(fmt::format("conversations are rendered as {}, but {} uses {}", format, family.title,
                   fmt::join(own, ", ")));
}

void CalibrationLoader::warn(const std::string& warning) {
  indexcache::warn(progress_, warnings_, warning);
}

void CalibrationLoader::check(const TokenSet& tokens) {
  const std::string name = std::filesystem::path(tokens.source).filename().string();
  for (const std::string& warning : check_tokens(tokens, token_limits(model_.config))) {
    warn(name + ": " + warning);
  }
}

CalibrationData CalibrationLoader::split(std::optional<double> holdout) {
  if (cuts_sequences(options_)) {
    const double share = holdout.value_or(kDefaultHoldout);
    const PreparedSet set = prepared(options_.prepare.inputs, share);
    CalibrationData data{set.token_set(false), std::nullopt, without_folders(set.report())};
    if (share > 0) data.holdout = set.token_set(true);
    check(data.search);
    if (data.holdout) check_tokens(*data.holdout, token_limits(model_.config));
    return data;
  }
  const StoredTokens file = stored(options_.prepare.inputs);
  CalibrationData data{{}, std::nullopt, account_of(file, options_.prepare.inputs[0])};
  check(file.tokens);
  const bool splits = std::ranges::count(file.held_out, true) > 0;
  if (!holdout && splits) {
    data.search = subset(file.tokens, file.held_out, false);
    data.holdout = subset(file.tokens, file.held_out, true);
  } else if (holdout == 0.0) {
    data.search = file.tokens;
    return data;
  } else {
    std::tie(data.search, data.holdout) =
        split_holdout(file.tokens, holdout.value_or(kDefaultHoldout));
  }
  // Either half alone must be able to tell patterns apart.
  check_tokens(data.search, token_limits(model_.config));
  check_tokens(*data.holdout, token_limits(model_.config));
  return data;
}

TokenSet CalibrationLoader::whole(const std::vector<std::string>& inputs) {
  TokenSet tokens =
      cuts_sequences(options_) ? prepared(inputs, 0).token_set(false) : stored(inputs).tokens;
  check(tokens);
  return tokens;
}

CalibrationData load_calibration(const CalibrationOptions& options, const std::string& holdout,
                                 const Model& model, const std::string& folder, int threads,
                                 Progress& progress, std::vector<std::string>& warnings) {
  CalibrationLoader loader(options, model, folder, threads, progress, warnings);
  if (holdout == "auto") return loader.split(std::nullopt);
  char* end = nullptr;
  const double share = std::strtod(holdout.c_str(), &end);
  if (*end != '\0' || holdout.empty()) {
    CalibrationData data = loader.split(0.0);
    data.holdout = loader.whole({holdout});
    warn_of_shared_sequences(data, progress, warnings);
    return data;
  }
  if (!(share >= 0 && share < 1)) {
    throw UsageError({fmt::format("invalid value for --holdout: \"{}\"", holdout), "--holdout", "",
                      "a file, a share such as 0.25, or 0 for none"});
  }
  return loader.split(share);
}

}  // namespace indexcache
