// SPDX-License-Identifier: Apache-2.0
// The whole of `distill` without a child process, and its document.
#include "core/error.h"
#include "io/files.h"
#include "io/json_text.h"
#include "run/distill_run.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/files.h"
#include "support/refusal.h"
#include "support/tokens.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

DistillOptions training_of(const TempFolder& folder) {
  const auto tokens = tiny_tokens(folder, 10, 70);
  DistillOptions options;
  options.device.model = golden("deepseek_v32_tiny").string();
  options.device.device = "cpu";
  options.device.threads = 1;
  options.calibration.prepare.inputs = {tokens.string()};
  options.dense.steps = 4;
  options.dense.batch = 3;
  options.dense.validate_every = 2;
  options.sparse.steps = 2;
  options.output = (folder / "out").string();
  return options;
}

Distillation quiet_distill(const DistillOptions& options) {
  Progress progress(Progress::Style::silent);
  const Model model = open_model(options.device.model);
  return distill(options, model, Pattern::parse("FFSSFS"), make_backends(options.device), progress);
}

}  // namespace

TEST_CASE("the document of a training holds all that the training returns") {
  const TempFolder folder;
  const DistillOptions options = training_of(folder);
  const Distillation returned = quiet_distill(options);
  const DistillFolder output{options.output};
  const Json document = parse_json(read_file(output.document()), "distill.json");
  CHECK(document == to_json(returned));
  CHECK(distillation_from_json(document, "distill.json") == returned);
  CHECK(quiet_distill(options) == returned);  // read, not trained again
  CHECK(read_file(output.document()) == json_text(document, 1) + "\n");
}

TEST_CASE("what a training records fits together") {
  const TempFolder folder;
  const Distillation d = quiet_distill(training_of(folder));
  CHECK(d.complete);
  CHECK(d.pattern == Pattern::parse("FFSSFS"));
  REQUIRE(d.layers.size() == 2);
  CHECK((d.layers[0].layer == 1 && d.layers[0].end == 4));
  CHECK((d.layers[1].layer == 4 && d.layers[1].end == 6));
  for (const TrainedLayer& layer : d.layers) {
    REQUIRE((layer.mass_before && layer.mass_after));
    CHECK((*layer.mass_before > 0 && *layer.mass_before < 1));
    CHECK((*layer.mass_after > 0 && *layer.mass_after < 1));
  }
  REQUIRE(d.stages.size() == 2);
  const TrainingStage &dense = d.stages[0], &sparse = d.stages[1];
  CHECK((dense.name == "dense" && dense.steps_done == 4 && dense.training.size() == 4));
  CHECK((sparse.name == "sparse" && sparse.steps_done == 2 && sparse.training.size() == 2));
  CHECK(dense.validation.size() == 3);
  CHECK(sparse.validation.size() == 2);
  CHECK(d.training.sequences + d.validation.sequences + d.judge.sequences == 10);
  CHECK(d.judge_is_held_out);
  const double best = std::min(dense.validation_loss, sparse.validation_loss);
  CHECK((d.chosen == "dense" ? dense : sparse).validation_loss == best);
  const Measured& before = d.find("pattern", "checkpoint")->measured;
  const Measured& after = d.find("pattern", d.chosen)->measured;
  CHECK(d.change.mean == Approx(after.loss - before.loss).margin(1e-12));
  CHECK(d.gain == (d.change.ci95->second < 0));
  CHECK(d.find("uniform", "checkpoint") != nullptr);
  CHECK(d.find("all-Full", "dense") != nullptr);
  CHECK(d.find("all-Full", "checkpoint") == nullptr);  // it is the baseline
  CHECK(std::filesystem::exists(folder / "out/model") == d.gain);
}

TEST_CASE("without held-out data the validation judges, and the document says so") {
  const TempFolder folder;
  DistillOptions options = training_of(folder);
  options.holdout = "0";
  options.sparse.steps = 0;
  options.validation = 0.3;
  const Distillation d = quiet_distill(options);
  CHECK_FALSE(d.judge_is_held_out);
  CHECK(d.judge == d.validation);
  CHECK(d.validation.sequences == 3);
  CHECK(d.stages.size() == 1);
  CHECK(d.stages[0].validation_loss ==
        Approx(d.find("pattern", "dense")->measured.loss).margin(1e-12));
  CHECK_THAT(d.warnings.back(), Contains("no held-out data") || Contains("seen"));
}

TEST_CASE("a document with any value missing or of another type is refused with its place") {
  const TempFolder folder;
  const Json document = to_json(quiet_distill(training_of(folder)));
  int refused = 0, accepted = 0;
  for_every_damage(document, 64, [&](const Damage& damage) {
    CAPTURE(damage.name);
    const std::string refusal =
        refusal_of([&] { distillation_from_json(damage.document, "distill.json"); });
    ++(refusal == "accepted" ? accepted : refused);
    if (refusal == "accepted") return;
    CHECK_THAT(refusal, Contains("distill.json") && Contains("try: "));
  });
  CHECK(refused > 500);
  CHECK(accepted < refused / 10);
}
