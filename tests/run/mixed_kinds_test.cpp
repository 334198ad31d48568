// SPDX-License-Identifier: Apache-2.0
// Devices of different kinds in one job (--mixed): losses that differ in their last bits.
#include "backend/cpu/cpu_backend.h"
#include "core/error.h"
#include "run/instruments.h"
#include "run/provenance.h"
#include "run/search_run.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/table_instruments.h"
#include "support/tokens.h"

#include <memory>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A processor that says it is something else.
class OtherKind : public CpuBackend {
 public:
  OtherKind() : CpuBackend(1) {}
  std::string name() const override { return "another kind"; }
};

struct MixedPlace {
  explicit MixedPlace(bool mixed) {
    options.device.model = golden("deepseek_v32_tiny").string();
    options.device.device = "cpu";
    options.device.mixed = true;
    options.calibration.prepare.inputs = {tiny_tokens(folder).string()};
    options.constraints.keep = {"3"};
    model.emplace(open_model(options.device.model, std::nullopt));
    Backends backends;
    backends.push_back(std::make_unique<CpuBackend>(1));
    if (mixed) {
      backends.push_back(std::make_unique<OtherKind>());
    } else {
      backends.push_back(std::make_unique<CpuBackend>(1));
    }
    subject.emplace(open_subject(options, *model, *backends.front(), progress));
    session.emplace(*model, std::move(backends), options.device);
  }

  // The baseline of a folder whose journal has other losses.
  OverlapPass continued(double added) {
    const Fingerprint fingerprint = fingerprint_of(*model, *subject, session->kinds());
    SequenceLosses losses = session->evaluator(subject->data.search).losses_of(model->baseline());
    for (double& loss : losses) loss += added;
    const TempFolder run;
    {
      Journal journal(run / "journal.jsonl", fingerprint, false);
      journal.record_baseline(losses);
    }
    Journal journal(run / "journal.jsonl", fingerprint, false);
    DeviceInstruments instruments(*session, *subject, journal, progress, 0);
    OverlapPass pass = instruments.measure_baseline(model->baseline());
    CHECK(pass.losses == losses);
    return pass;
  }

  TempFolder folder;
  SearchOptions options;
  Progress progress{Progress::Style::silent};
  std::optional<Model> model;
  std::optional<SearchSubject> subject;
  std::optional<Session> session;
};

// Whose losses are others when they are measured again.
class DriftingInstruments : public TableInstruments {
 public:
  DriftingInstruments(double drift, bool repeats)
      : again_(TableInstruments::verification().weights(),
               [drift](const Pattern& pattern, std::size_t s) {
                 return all_losses().loss(pattern, s) + drift;
               }),
        repeats_(repeats) {}

  Evaluator& verification() override { return again_; }
  bool repeats_bits() const override { return repeats_; }

 private:
  TableEvaluator again_;
  bool repeats_;
};

SearchOutcome search_with(DriftingInstruments& instruments) {
  SearchSubject subject{.space = {Pattern::all_full(PatternTable::kLayers),
                                  Constraints::none(PatternTable::kLayers),
                                  {}},
                        .requests = {{"6", 6}},
                        .strategies = {&strategies().front()},
                        .refinement = nullptr,
                        .data = {},
                        .warnings = {}};
  subject.data.holdout.emplace();
  Progress progress(Progress::Style::silent);
  return search_run(subject, instruments, progress);
}

}  // namespace

TEST_CASE("a session of different kinds names all of them, one of a kind only that") {
  const MixedPlace mixed(true), same(false);
  CHECK(mixed.session->kinds() == kinds_of({CpuBackend(1).name(), "another kind"}));
  CHECK(is_mixed(mixed.session->kinds()));
  CHECK(same.session->kinds() == CpuBackend(1).name());
  CHECK_FALSE(is_mixed(same.session->kinds()));
  // So no run of one is continued by the other.
  CHECK(fingerprint_of(*mixed.model, *mixed.subject, mixed.session->kinds()) !=
        fingerprint_of(*mixed.model, *mixed.subject, same.session->kinds()));
  Progress progress(Progress::Style::silent);
  std::vector<std::string> warnings;
  warn_of_kinds(same.session->kinds(), progress, warnings);
  CHECK(warnings.empty());
  warn_of_kinds(mixed.session->kinds(), progress, warnings);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("--mixed") && Contains("another kind") &&
                              Contains("last bits of losses depend"));
}

TEST_CASE("a mixed run is continued although the baseline has other last bits") {
  MixedPlace mixed(true);
  mixed.continued(0);
  mixed.continued(1e-6);
  CHECK_THROWS_AS(mixed.continued(0.5), ResumeMismatch);
  MixedPlace same(false);
  same.continued(0);
  CHECK_THROWS_AS(same.continued(1e-6), ResumeMismatch);
}

TEST_CASE("a chosen pattern of a mixed run need not repeat its last bits, and the result says so") {
  DriftingInstruments exact(0, false), drifting(1e-6, false), wrong(0.5, false), broken(1e-6, true);
  CHECK(search_with(exact).warnings.empty());
  const SearchOutcome outcome = search_with(drifting);
  REQUIRE(outcome.warnings.size() == 1);
  CHECK_THAT(outcome.warnings[0],
             Contains("when evaluated by itself, on devices of different kinds"));
  CHECK_THROWS_AS(search_with(wrong), InternalError);
  CHECK_THROWS_AS(search_with(broken), InternalError);
}
