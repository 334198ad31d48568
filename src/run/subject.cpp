// SPDX-License-Identifier: Apache-2.0
#include "run/subject.h"

#include "core/error.h"
#include "run/segment_students.h"
#include "run/size_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace indexcache {
namespace {

// What --confidence asks for; nullopt for none.
std::optional<RaceRules> parse_confidence(const std::string& text) {
  RaceRules rules;
  if (text == "none") return std::nullopt;
  if (text == "auto") return rules;
  char* end = nullptr;
  rules.confidence = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0' && rules.confidence > 0.5 && rules.confidence < 1) return rules;
  throw UsageError({fmt::format("invalid value for --confidence: \"{}\"", text), "--confidence", "",
                    "a probability between 0.5 and 1 such as 0.95, none, or auto"});
}

void check_stability_options(const SearchOptions& options) {
  if (!options.stability) return;
  if (std::ranges::count(options.strategies, "segments") == 0) {
    throw UsageError({"--stability searches by segments", "--strategy",
                      "segments is not among them",
                      "--strategy segments,greedy, or no --stability"});
  }
  if (options.confidence != "auto" && options.confidence != "none") {
    throw UsageError({"--stability needs every loss on every sequence", "--confidence",
                      "races leave some out", "--confidence none, or no --stability"});
  }
}

void check_max_rise(const ConstraintOptions& options) {
  if (!options.max_rise || (*options.max_rise > 0 && std::isfinite(*options.max_rise))) return;
  throw UsageError({fmt::format("invalid value for --max-rise: {}", *options.max_rise),
                    "--max-rise", "", "a loss increase above 0 in nats per token, such as 0.02"});
}

// Every second sequence from `first` on that has tokens which the objective averages.
std::size_t counting_sequences(const std::vector<double>& weights, std::size_t first,
                               std::size_t step) {
  std::size_t count = 0;
  for (std::size_t s = first; s < weights.size(); s += step) count += weights[s] > 0 ? 1 : 0;
  return count;
}

// What some options need of the data.
void require_sequences(const SearchOptions& options, const SearchSubject& subject,
                       std::int64_t first_selecting) {
  const std::vector<double> weights =
      averaged_tokens(subject.data.search, subject.objective, first_selecting);
  const auto need = [&](bool holds, const char* option, const std::string& why) {
    if (holds) return;
    throw UsageError({fmt::format("{} is not possible on this data", option), option, why,
                      "more sequences, or longer ones"});
  };
  const std::size_t all = counting_sequences(weights, 0, 1);
  need(all > 0, "--objective", "no sequence predicts a token beyond index_topk");
  if (subject.max_rise) {
    need(all >= 2, "--max-rise",
         fmt::format("an interval takes two calibration sequences, and there is only {}", all));
  }
  if (options.stability) {
    need(counting_sequences(weights, 0, 2) >= 2 && counting_sequences(weights, 1, 2) >= 2,
         "--stability", "each half needs two calibration sequences that can differ");
  }
}

// Races need a spread. By default they are left out if there is none.
void require_race_sequences(std::optional<RaceRules>& races, bool by_default, std::size_t sequences,
                            Progress& progress) {
  if (!races || sequences >= kFewestRaced) return;
  const std::string few =
      fmt::format("{} calibration sequence{} too few for races, which need at least {}", sequences,
                  sequences == 1 ? " is" : "s are", kFewestRaced);
  if (!by_default) {
    throw UsageError({"races are not possible on this data", "--confidence", few,
                      "more sequences, or --confidence none"});
  }
  races.reset();
  progress.note(fmt::format("every pattern is measured on every sequence: {}", few));
}

// Trains on data of its own; what is held out for the search judges the indexers, too.
SegmentTraining open_segment_training(const SearchOptions& options, const Model& model,
                                      SearchSubject& subject, Progress& progress) {
  require_trainable(model.config, "--distill");
  if (model.config.indexer) {
    throw UsageError({"--distill trains exact indexers", "--indexer",
                      fmt::format("it is {}", indexer_text(model.config.indexer)),
                      "--indexer exact, or no --distill"});
  }
  SegmentTraining training{
      options.training, options.training, {subject.space.start, {}, {}, {}, {}}};
  training.options.sparse.steps = 0;
  training.finishing.dense = options.training.dense;
  training.finishing.dense.steps = options.finishing.steps;
  share_settings(training.finishing);
  training.options.device = training.finishing.device = options.device;
  training.finishing.always = true;  // the pattern was searched for with these indexers
  check_settings(training.options, "--distill-");
  check_settings(training.finishing, "--distill-finish-");
  DistillSubject& of = training.subject;
  of.students = students_of(subject.space);
  if (of.students.empty()) {
    throw UsageError({"there is nothing to distill", "--distill",
                      "the constraints leave no segment with an S layer", "fewer pinned layers"});
  }
  require_writable_indexers(model, of.students, training.options.link);
  CalibrationLoader loader(options.calibration, model, options.device.model, options.device.threads,
                           progress, subject.warnings);
  TokenSet tokens = loader.whole(options.distill);
  of.held_out = subject.data.holdout.has_value();
  if (of.held_out) {
    const std::size_t before = tokens.sequences.size();
    tokens = without_sequences_of(tokens, *subject.data.holdout);
    if (const std::size_t left_out = before - tokens.sequences.size(); left_out > 0) {
      warn(progress, subject.warnings,
           fmt::format("{} sequences of --distill are held out and are not trained on", left_out));
    }
  } else {
    warn(progress, subject.warnings,
         "no held-out data: the sequences that decide when training stops also judge the indexers");
  }
  std::tie(of.training, of.validation) = split_validation(tokens, training.options.validation);
  of.judge = of.held_out ? *subject.data.holdout : of.validation;
  return training;
}

}  // namespace

bool SearchSubject::races_anything() const {
  if (!space.races) return false;
  return race_all || refinement != nullptr ||
         std::ranges::any_of(strategies, &Strategy::races_by_default);
}

SearchSettings SearchSubject::settings() const {
  SearchSettings settings{.requests = {},
                          .strategies = {},
                          .refinement = std::string(refinement ? refinement->name : "none"),
                          .race_confidence = std::nullopt,
                          .race_all = race_all,
                          .stability = stability,
                          .objective = objective};
  for (const Request& request : requests) settings.requests.push_back(request.text);
  if (max_rise) settings.requests.push_back(max_rise_text(*max_rise));
  for (const Strategy* strategy : strategies) settings.strategies.emplace_back(strategy->name);
  if (races_anything()) settings.race_confidence = space.races->confidence;
  settings.race_all = settings.race_confidence && race_all;
  return settings;
}

SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress) {
  backend.check(model.config.shape());
  const Pattern start = search_baseline(options.constraints, model);
  SearchSubject subject{
      .space = {start,
                make_constraints(options.constraints, start, model.config.layer_numbers()),
                {}},
      .requests = {},
      .max_rise = options.constraints.max_rise,
      .strategies = {},
      .refinement = find_refinement(options.refine),
      .objective = find_objective(options.objective).value(),
      .race_all = options.race_greedy,
      .stability = options.stability,
      .data = {},
      .warnings = {},
      .numbers = model.config.layer_numbers()};
  subject.space.races = parse_confidence(options.confidence);
  check_stability_options(options);
  if (options.stability) subject.space.races.reset();
  check_max_rise(options.constraints);
  subject.requests = make_requests(options.constraints, start, subject.space.constraints);
  for (const Request& request : subject.requests) subject.space.targets.push_back(request.full);
  for (const Strategy& strategy : strategies()) {
    if (std::ranges::count(options.strategies, strategy.name) > 0) {
      subject.strategies.push_back(&strategy);
    }
  }
  for (const std::string& warning : warnings_of_ratios(options.constraints, start)) {
    warn(progress, subject.warnings, warning);
  }
  note_of_device(backend, progress);
  note_of_weights(model, backend, progress);
  warn_of_model(model, progress, subject.warnings);
  subject.data = load_calibration(options.calibration, options.holdout, model, options.device.model,
                                  options.device.threads, progress, subject.warnings);
  if (model.config.indexer) {
    warn_of_reach(*model.config.indexer, subject.data.search, progress, subject.warnings);
  }
  require_sequences(options, subject, model.config.first_selecting_position());
  if (!options.distill.empty()) {
    subject.training = open_segment_training(options, model, subject, progress);
    subject.indexers = untrained(subject.training->subject.students);
  }
  require_race_sequences(subject.space.races, options.confidence == "auto",
                         subject.data.search.sequences.size(), progress);
  return subject;
}

}  // namespace indexcache
