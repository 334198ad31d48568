// SPDX-License-Identifier: Apache-2.0
// From inputs to token sets: the same for `prepare` and for the commands that measure.
#pragma once

#include "calibration/calibration_file.h"
#include "calibration/prepare.h"
#include "core/progress.h"
#include "model/model.h"

#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct CalibrationOptions {
  // How inputs become sequences. Its hold-out and threads are those of the command.
  PrepareOptions prepare;
  std::string tokenizer;  // empty: the model's
};

// What a model demands of its tokens, where a model is known.
TokenLimits token_limits(const ModelConfig& config);

// The model's tokenizer, or the one that is named. Throws InputError when it has ids that the model
// does not know.
Tokenizer open_tokenizer(const std::string& path, std::optional<std::int64_t> vocabulary);

// Search and held-out sequences of a run.
struct CalibrationData {
  TokenSet search;
  std::optional<TokenSet> holdout;
  std::optional<DocumentAccount> prepared;  // absent for ready-made ids
};

class CalibrationLoader {
 public:
  // Warnings go to `progress` and are collected for the record. `folder` is the model's.
  CalibrationLoader(const CalibrationOptions& options, const Model& model, std::string folder,
                    int threads, Progress& progress, std::vector<std::string>& warnings);

  // `holdout`: a share of the sequences; nullopt: the file's own split, else a quarter. Text is cut
  // into sequences as --seq-len and its companions say; ready-made ids are taken as they are. Both
  // sides are checked against the model.
  CalibrationData split(std::optional<double> holdout);

  // All sequences of `inputs`, with the same settings.
  TokenSet whole(const std::vector<std::string>& inputs);

 private:
  bool has_tokenizer() const;  // one that is named, or the model's
  StoredTokens stored(const std::vector<std::string>& inputs) const;
  PreparedSet prepared(const std::vector<std::string>& inputs, double holdout);
  void warn(const std::string& warning);
  void check(const TokenSet& tokens);
  void check_chat_format(const std::string& format);

  const CalibrationOptions& options_;
  const Model& model_;
  std::string folder_;
  int threads_;
  Progress& progress_;
  std::vector<std::string>& warnings_;
  std::optional<Tokenizer> tokenizer_;
};

// Both sides of a command's data. `holdout` is a file, a share such as 0.25, or "auto"; the other
// parameters are CalibrationLoader's. Throws UsageError for a hold-out that is none of them.
CalibrationData load_calibration(const CalibrationOptions& options, const std::string& holdout,
                                 const Model& model, const std::string& folder, int threads,
                                 Progress& progress, std::vector<std::string>& warnings);

}  // namespace indexcache
