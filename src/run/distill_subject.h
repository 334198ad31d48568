// SPDX-License-Identifier: Apache-2.0
// What a distillation trains, and on which data.
#pragma once

#include "core/fingerprint.h"
#include "core/progress.h"
#include "distill/training.h"
#include "model/indexer_folder.h"
#include "run/calibration_data.h"
#include "run/session.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

struct DistillOptions {
  DeviceOptions device;
  CalibrationOptions calibration;
  std::string holdout = "auto";  // a file, a share, or "auto"
  bool own = false;              // each layer learns only from itself: a control
  StageSettings dense{.steps = 300, .rate = 2e-3f};
  StageSettings sparse{.steps = 100, .rate = 5e-4f};  // 0 steps: none
  double validation = 0.1;                            // share of the training sequences
  LinkKind link = LinkKind::symbolic;
  double save_seconds = 60;  // between two states that a killed training continues from
  std::string budget;        // "4h"; empty: no limit
  std::string output;
  bool restart = false;
  bool always = false;  // writes the checkpoint whether or not the held-out loss falls
  bool plan = false;    // only say what the training needs
};

// Sequences for training and for validation: the latter are that share of all, but at most
// kMostValidation, because every validation takes them through the model. Throws what split_holdout
// throws.
inline constexpr double kMostValidation = 16;
std::pair<TokenSet, TokenSet> split_validation(const TokenSet& tokens, double share);

// The sequences that are not among `others`.
TokenSet without_sequences_of(const TokenSet& tokens, const TokenSet& others);

// Gives the sparse stage what it shares with the dense one: everything but steps and rate.
void share_settings(DistillOptions& options);

struct DistillSubject {
  Pattern pattern;
  std::vector<Student> students;
  TokenSet training;
  TokenSet validation;  // decides when to stop and what is best
  TokenSet judge;       // held-out sequences; without them those of the validation
  bool held_out = true;
  std::vector<std::string> warnings = {};

  // Of the sequences that are trained and validated on.
  std::int64_t longest() const;
};

// Checks everything that can be checked before a weight is read. Throws UsageError for settings out
// of range, InputError for a pattern without S layers or with layers that cannot be trained, and
// for too few sequences.
DistillSubject open_distill_subject(const DistillOptions& options, const Model& model,
                                    const Pattern& pattern, const Backend& backend,
                                    Progress& progress);

// Throws InputError if the checkpoint has something that keeps a folder with other indexers from
// being written; nothing is read but headers.
void require_writable_indexers(const Model& model, const std::vector<Student>& students,
                               LinkKind link);

// Throws UsageError if the model, or a file that it links to, is in `output`: what is written there
// replaces what was.
void require_other_folder(const Model& model, const std::filesystem::path& output);

// Throws UsageError, naming `what` was asked for, if the indexers of a model cannot be trained.
void require_trainable(const ModelConfig& config, const char* what);

// Throws UsageError for a setting that is out of range; `prefix` begins the options' names.
void check_settings(const DistillOptions& options, const std::string& prefix = "--");

// The data and the settings of a training.
Fingerprint training_fields(const DistillOptions& options, const DistillSubject& subject);

// Everything that decides the bits of a training on a device.
Fingerprint fingerprint_of(const DistillOptions& options, const Model& model,
                           const DistillSubject& subject, const std::string& device);

// "cosine" or "constant".
std::string schedule_name(Schedule schedule);

}  // namespace indexcache
