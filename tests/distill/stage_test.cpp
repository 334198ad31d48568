// SPDX-License-Identifier: Apache-2.0
// A stage of training: rates, batches, the best parameters, when it stops, and states that are
// saved and restored.
#include "core/error.h"
#include "distill/training.h"
#include "distill/training_state.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/distill_bench.h"
#include "support/refusal.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kLength = 48, kVocabulary = 319;

TokenSet tokens_of(int first, int count) {
  TokenSet set{.source = "test", .sequences = {}};
  for (int s = first; s < first + count; ++s) {
    std::vector<std::int32_t> ids;
    for (int t = 0; t < kLength - s; ++t)
      ids.push_back((t * t * 7 + t * 37 + s * 11) % kVocabulary);
    set.sequences.push_back(ids);
  }
  return set;
}

const Fingerprint kFingerprint = {{"device", "cpu"}, {"dense steps", "12"}};

// One stage of two students, with all that it refers to.
struct StageBench {
  explicit StageBench(StageSettings wanted, const char* sparse = nullptr, std::int64_t wave = 2,
                      bool keep = false, int threads = 1)
      : settings(wanted),
        bench(golden("deepseek_v32_tiny"), {{0, 2}, {2, 6}}, kLength, {}, threads),
        students(bench.session.model, {&bench.backend()}, {bench.students.students()}),
        distiller(bench.config(), bench.backend(), bench.pass, students.part(0),
                  students.students()),
        pattern(Pattern::parse(sparse == nullptr ? "FSFSSS" : sparse)),
        training(bench.pass, bench.session.weights, train, {settings.batch, wave, keep},
                 sparse == nullptr ? nullptr : &pattern),
        validation(bench.pass, bench.session.weights, held, {settings.batch, wave, keep},
                   sparse == nullptr ? nullptr : &pattern),
        stage(settings, students, {{&distiller, &training, &validation}}, kLength,
              bench.config().index_topk, kRangePositions) {}

  void run() {
    while (!stage.finished()) stage.step();
    stage.finish();
  }
  // The mean KL of the students as they are, on the validation sequences.
  std::vector<double> divergences() {
    std::vector<double> sums(students.size(), 0.0);
    const auto ranges = position_ranges(kLength, bench.config().index_topk, kRangePositions);
    double queries = 0;
    for (std::int64_t b = 0; b < validation.batches(); ++b) {
      for (std::int64_t w = 0; w < validation.waves(b); ++w) {
        const auto of_wave = distiller.add_gradients(validation.wave(b, w), ranges, 0.0f);
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of_wave[i];
      }
      queries += static_cast<double>(validation.queries(b, ranges));
    }
    for (double& sum : sums) sum /= queries;
    return sums;
  }

  StageSettings settings;
  TokenSet train = tokens_of(0, 5), held = tokens_of(5, 2);
  DistillBench bench;
  DealtStudents students;
  Distiller distiller;
  Pattern pattern;
  FeatureSource training, validation;
  Stage stage;
};

StageSettings short_stage() {
  return {.steps = 12, .rate = 3e-3f, .warmup = 2, .batch = 2, .validate_every = 3};
}

bool same(const StageState& a, const StageState& b) {
  const auto equal = [](const std::vector<DivergencePoint>& x,
                        const std::vector<DivergencePoint>& y) {
    return std::ranges::equal(x, y, [](const DivergencePoint& p, const DivergencePoint& q) {
      return p.step == q.step && p.values == q.values;
    });
  };
  return a.step == b.step && a.stale == b.stale && a.over == b.over && a.best == b.best &&
         a.best_divergence == b.best_divergence && equal(a.training, b.training) &&
         equal(a.validation, b.validation);
}

}  // namespace

TEST_CASE("a GPU takes as many positions at once as keep it busy, whatever memory is free") {
  class PretendGpu : public CpuBackend {
    bool is_gpu() const override { return true; }
  };
  const PretendGpu gpu;
  const CpuBackend cpu;
  ModelConfig config = read_config(data("dsa-mini"));
  const std::vector<Student> all = all_students(std::vector<bool>(16, true));
  const std::vector<Student> apart = students_of(Pattern::parse("FSSSFSSSFSSSFSSS"));
  CHECK(Distiller::matrices(config, all) == 15 + 2);  // layer 0 teaches only its own students
  CHECK(Distiller::matrices(config, apart) == 2);
  CHECK(positions_at_once(cpu, config, all, 8, 2048) == kRangePositions);
  CHECK(positions_at_once(gpu, config, all, 8, 2048) == 2048);
  CHECK(positions_at_once(gpu, config, all, 1, 200'000) == kRangePositions);
  CHECK(positions_at_once(gpu, config, apart, 1, 100'000) == 2 * kRangePositions);
  config.hidden = 6144;  // GLM-5: 256 positions of eight sequences are enough rows
  CHECK(positions_at_once(gpu, config, apart, 8, 4096) == kRangePositions);
  CHECK(positions_at_once(gpu, config, apart, 1, 4096) == 2 * kRangePositions);
}

TEST_CASE("a rate rises, stays, then follows a cosine to a twentieth") {
  StageSettings settings{.steps = 200, .rate = 1.0f, .warmup = 20};
  CHECK(rate_at(settings, 0) == Approx(1.0 / 20));
  CHECK(rate_at(settings, 9) == Approx(0.5));
  for (std::int64_t step = 19; step <= 120; ++step) CHECK(rate_at(settings, step) == 1.0f);
  for (std::int64_t step = 120; step < 199; ++step) {
    CHECK(rate_at(settings, step + 1) < rate_at(settings, step));
  }
  CHECK(rate_at(settings, 160) == Approx(0.05 + 0.95 * 0.5));
  CHECK(rate_at(settings, 200) == Approx(0.05));
  settings.schedule = Schedule::constant;
  CHECK(rate_at(settings, 10) == Approx(11.0 / 20));
  CHECK(rate_at(settings, 20) == 1.0f);
  CHECK(rate_at(settings, 199) == 1.0f);
  settings = {.steps = 10, .rate = 1.0f, .warmup = 20};  // at most a fifth of the steps
  CHECK(rate_at(settings, 0) == Approx(0.5));
  CHECK(rate_at(settings, 1) == Approx(1.0));
  CHECK(rate_at({.steps = 1, .rate = 0.5f}, 0) == 0.5f);
  CHECK(rate_at({.steps = 100, .rate = 0.5f, .warmup = 0}, 0) == 0.5f);
}

TEST_CASE("ranges of positions do not cross the first query with a choice") {
  CHECK(position_ranges(10, 4, 3) == std::vector<PositionRange>{{0, 3}, {3, 4}, {4, 7}, {7, 10}});
  CHECK(position_ranges(4, 10, 3) == std::vector<PositionRange>{{0, 3}, {3, 4}});
  CHECK(position_ranges(4, 0, 8) == std::vector<PositionRange>{{0, 4}});
  const std::vector<PositionRange> ranges = position_ranges(16, 6, 2);
  CHECK(joined_ranges(ranges, 6, 4) ==
        std::vector<PositionRange>{{0, 4}, {4, 6}, {6, 10}, {10, 14}, {14, 16}});
  CHECK(joined_ranges(ranges, 6, 1000) == std::vector<PositionRange>{{0, 6}, {6, 16}});
  CHECK(joined_ranges(ranges, 6, 1) == ranges);
  const std::vector<PositionRange> apart = {{0, 2}, {4, 6}, {6, 8}};
  CHECK(joined_ranges(apart, 0, 1000) == std::vector<PositionRange>{{0, 2}, {4, 8}});
}

TEST_CASE("batches have nearly equal sizes, and every sequence is in one of them") {
  StageSettings settings = short_stage();
  settings.batch = 4;
  StageBench b(settings, nullptr, 2);
  CHECK(b.training.batches() == 2);
  CHECK(b.training.waves(0) == 1);  // 2 of the 5 sequences
  CHECK(b.training.waves(1) == 2);
  CHECK(b.training.waves(2) == b.training.waves(0));
  const std::vector<PositionRange> all = {{0, kLength}};
  CHECK(b.training.queries(0, all) + b.training.queries(1, all) == b.train.tokens());
  CHECK(b.training.queries(1, {{40, kLength}}) == 6 + 5 + 4);
  CHECK(b.training.wave(1, 1).rows.total == kLength - 4);
}

TEST_CASE("training lowers the divergence, and each student keeps its best parameters") {
  for (const char* pattern : {static_cast<const char*>(nullptr), "FSFSSS"}) {
    StageBench b(short_stage(), pattern);
    const std::vector<double> before = b.divergences();
    b.run();
    const StageState& state = b.stage.state();
    CHECK(state.step == 12);
    CHECK(state.training.size() == 12);
    REQUIRE(state.validation.size() == 5);
    CHECK(state.validation.front().step == 0);
    CHECK(state.validation.back().step == 12);
    CHECK(state.validation.front().values == before);
    CHECK(b.divergences() == state.best_divergence);
    for (std::size_t i = 0; i < before.size(); ++i) {
      CAPTURE(i, before[i], state.best_divergence[i]);
      CHECK(state.best_divergence[i] < 0.9 * before[i]);
      double least = HUGE_VAL;
      for (const DivergencePoint& point : state.validation)
        least = std::min(least, point.values[i]);
      CHECK(state.best_divergence[i] == least);
    }
  }
}

TEST_CASE("a step is one of Adam with its rate on the mean gradient over a batch's queries") {
  StageSettings settings = short_stage();
  settings.clip = 0;
  StageBench b(settings, nullptr, 1);  // two waves per batch
  DistillBench other(golden("deepseek_v32_tiny"), {{0, 2}, {2, 6}}, kLength);
  const std::vector<float> start = other.students.parameters();
  std::vector<double> p(start.begin(), start.end()), m(p.size()), v(p.size());
  for (std::int64_t step = 0; step < 5; ++step) {
    // Batches of 1, 2 and 2 of the 5 sequences.
    const std::size_t batch = static_cast<std::size_t>(step) % 3, first = batch * 5 / 3;
    const std::vector<std::vector<std::int32_t>> sequences(
        b.train.sequences.begin() + static_cast<std::ptrdiff_t>(first),
        b.train.sequences.begin() + static_cast<std::ptrdiff_t>((batch + 1) * 5 / 3));
    const Features features = other.features(sequences);
    other.students.clear_gradients();
    const std::vector<PositionRange> all = {{0, kLength}};
    const std::vector<double> sums =
        other.distiller.add_gradients(features, all, 1 / static_cast<float>(features.rows.total));
    const double rate = double{rate_at(settings, step)}, n = static_cast<double>(step + 1);
    std::vector<float> next;
    for (std::size_t i = 0, student = 0; student < 2; ++student) {
      for (const std::vector<float>& part : other.gradients(student)) {
        for (const float g : part) {
          m[i] = 0.9 * m[i] + 0.1 * double{g};
          v[i] = 0.95 * v[i] + 0.05 * double{g} * double{g};
          p[i] -= rate * (m[i] / (1 - std::pow(0.9, n))) /
                  (std::sqrt(v[i] / (1 - std::pow(0.95, n))) + 1e-8);
          next.push_back(static_cast<float>(p[i++]));
        }
      }
    }
    b.stage.step();
    const DivergencePoint& point = b.stage.state().training.back();
    CHECK(point.step == step);
    CHECK(point.values[1] ==
          Approx(sums[1] / static_cast<double>(features.rows.total)).epsilon(1e-5));
    // Where a gradient is nearly 0, the direction of a first step is that of rounding.
    std::vector<double> errors;
    const std::vector<float> parameters = b.students.parameters();
    for (std::size_t i = 0; i < next.size(); ++i) {
      errors.push_back(std::abs(double{parameters[i]} - double{next[i]}));
    }
    std::ranges::sort(errors);
    CHECK(errors[errors.size() * 999 / 1000] < 1e-2 * rate);
    other.students.set_parameters(parameters);
    p.assign(parameters.begin(), parameters.end());
  }
}

TEST_CASE("a student that gets worse goes back to its best parameters, the other goes on") {
  StageBench b(short_stage());
  for (int i = 0; i < 6; ++i) b.stage.step();
  std::vector<float> parameters = b.students.parameters();
  const std::vector<float> best = b.stage.state().best;  // at step 3
  const auto columns = parameters.size() / 2;
  for (std::size_t i = 0; i < columns; ++i) parameters[i] *= 1.5f;
  b.students.set_parameters(parameters);
  b.run();
  const std::vector<float> end = b.students.parameters();
  const auto middle = static_cast<std::ptrdiff_t>(columns);
  const auto& curve = b.stage.state().validation;
  CHECK(curve[2].values[0] > curve[1].values[0]);
  CHECK(b.stage.state().best_divergence[1] == curve.back().values[1]);
  if (b.stage.state().best_divergence[0] == curve[1].values[0]) {
    CHECK(std::equal(end.begin(), end.begin() + middle, best.begin()));
  }
  CHECK_FALSE(std::equal(end.begin() + middle, end.end(), best.begin() + middle));
}

TEST_CASE("patience ends a stage in which no student improves") {
  StageSettings settings = short_stage();
  settings.rate = 1e-30f;  // moves nothing
  settings.patience = 2;
  StageBench b(settings);
  const std::vector<float> parameters = b.students.parameters();
  b.run();
  CHECK(b.stage.state().step == 6);  // the first validation, and two without progress
  CHECK(b.stage.state().validation.size() == 3);
  CHECK(b.students.parameters() == parameters);
  settings.patience = 0;
  StageBench patient(settings);
  patient.run();
  CHECK(patient.stage.state().step == 12);
}

TEST_CASE("the bits of a stage do not depend on threads, or on whether features are kept") {
  StageBench one(short_stage()), three(short_stage(), nullptr, 2, true, 3);
  one.run();
  three.run();
  CHECK(same(one.stage.state(), three.stage.state()));
  CHECK(one.students.parameters() == three.students.parameters());
}

TEST_CASE("each step trains on some ranges of positions, another one in turn") {
  StageSettings settings = short_stage();
  settings.query_interval = 2;
  settings.validate_every = 100;
  StageBench b(settings);
  // Below and above index_topk; the batch of steps 0 and 2 is not the same, its ranges are.
  b.stage.step();
  b.stage.step();
  const auto& curve = b.stage.state().training;
  // Queries that see few positions diverge less.
  CHECK(curve[0].values[0] < curve[1].values[0]);
}

TEST_CASE("the norm of each student's gradient is cut to the limit, others are left as they are") {
  // After one step the mean of Adam is a tenth of the gradient that it has seen.
  const auto norms_with = [](float clip) {
    StageSettings settings = short_stage();
    settings.clip = clip;
    StageBench b(settings);
    b.stage.step();
    const std::vector<float> mean = b.students.state().mean;
    std::vector<double> norms(2, 0.0);
    for (std::size_t i = 0; i < mean.size(); ++i) {
      norms[i / (mean.size() / 2)] += 100 * double{mean[i]} * double{mean[i]};
    }
    for (double& norm : norms) norm = std::sqrt(norm);
    return norms;
  };
  const std::vector<double> free = norms_with(0);
  REQUIRE(free[0] > 1.01 * free[1]);
  const auto between = static_cast<float>((free[0] + free[1]) / 2);
  const std::vector<double> cut = norms_with(between), wide = norms_with(1e6f);
  CHECK(cut[0] == Approx(double{between}).epsilon(1e-5));
  CHECK(cut[1] == free[1]);
  CHECK(wide == free);
}

TEST_CASE("a gradient that is not finite stops the training with its layer and step") {
  StageBench b(short_stage());
  b.stage.step();
  std::vector<float> parameters = b.students.parameters();
  parameters.back() = std::numeric_limits<float>::quiet_NaN();  // of the second student
  b.students.set_parameters(parameters);
  const std::string refusal = refusal_of([&] { b.stage.step(); });
  CHECK_THAT(refusal, Contains("the training failed") && Contains("not finite in step 2") &&
                          Contains("layer 2") && Contains("a lower learning rate"));
  CHECK(b.stage.state().step == 1);
  CHECK(b.stage.state().training.size() == 1);
  // Nothing was changed, in the other student either.
  const std::vector<float> after = b.students.parameters();
  CHECK(std::equal(after.begin(), after.end() - 1, parameters.begin()));
}

TEST_CASE("a divergence that grows stops the training with its layer and step") {
  for (const float factor : {40.0f, std::numeric_limits<float>::quiet_NaN()}) {
    StageSettings settings = short_stage();
    settings.validate_every = 1;
    StageBench b(settings);
    b.stage.step();
    std::vector<float> parameters = b.students.parameters();
    for (std::size_t i = 0; i < parameters.size() / 2; ++i) parameters[i] *= factor;
    b.students.set_parameters(parameters);
    CHECK_THAT(refusal_of([&] { b.stage.step(); }),
               Contains("the training diverges") && Contains("layer 0") &&
                   Contains("before step 2") && Contains("a lower learning rate"));
    CHECK(b.stage.state().validation.size() == 1);
  }
}

TEST_CASE("a stage that was saved and restored after any step ends in the same bits") {
  for (const char* pattern : {static_cast<const char*>(nullptr), "FSFSSS"}) {
    StageBench whole(short_stage(), pattern);
    whole.run();
    for (const int steps : {0, 1, 3, 5, 11}) {
      CAPTURE(steps);
      const TempFolder folder;
      const auto file = folder / "training.safetensors";
      StageBench first(short_stage(), pattern), second(short_stage(), pattern);
      for (int i = 0; i < steps; ++i) first.stage.step();
      write_training_state(file, {2, 1.5, {first.stage.state()}, first.students.state()},
                           kFingerprint);
      const auto stored = read_training_state(file, kFingerprint, second.students.size(),
                                              second.students.parameters_per_student());
      REQUIRE(stored);
      CHECK(stored->wave == 2);
      CHECK(stored->seconds == 1.5);
      CHECK(same(stored->stages.at(0), first.stage.state()));
      second.stage.state() = stored->stages[0];
      second.students.restore(stored->students);
      second.run();
      CHECK(same(second.stage.state(), whole.stage.state()));
      const auto ended = second.students.state(), expected = whole.students.state();
      CHECK((ended.parameters == expected.parameters && ended.mean == expected.mean &&
             ended.variance == expected.variance));
    }
  }
}
