// SPDX-License-Identifier: Apache-2.0
// Students on several devices: how they are dealt, and that it does not show.
#include "distill/dealt_students.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "support/spread_stage.h"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// On backends that share the processor.
struct CpuStage : SpreadStage<> {
  explicit CpuStage(std::size_t devices, const char* sparse = nullptr)
      : SpreadStage(devices, sparse, [](std::size_t) { return 1; }) {}
};

}  // namespace

TEST_CASE("students are dealt in their order, and devices have nearly equal work") {
  const ModelConfig config = read_config(data("dsa-mini"));
  const std::vector<Student> all = all_students(std::vector<bool>(16, true));
  for (const std::size_t devices : {1, 2, 3, 8, 500}) {
    const auto parts = deal_students(config, all, devices);
    INFO(devices << " devices");
    CHECK(parts.size() == std::min(devices, all.size()));
    std::vector<Student> joined;
    std::size_t most = 0, least = all.size();
    for (const auto& part : parts) {
      joined.insert(joined.end(), part.begin(), part.end());
      most = std::max(most, part.size());
      least = std::min(least, part.size());
    }
    CHECK(joined == all);
    // The first layers have more teachers.
    if (devices <= 3) CHECK(most <= least + all.size() / 8);
  }
  const auto uniform = deal_students(config, students_of(Pattern::parse("FSSSFSSSFSSSFSSS")), 2);
  CHECK(uniform == std::vector<std::vector<Student>>{{{0, 4}, {4, 8}}, {{8, 12}, {12, 16}}});
}

TEST_CASE("a training has the same bits on any number of devices") {
  for (const char* sparse : {static_cast<const char*>(nullptr), "FSFSFS"}) {
    INFO((sparse == nullptr ? "dense" : "sparse"));
    CpuStage one(1, sparse), two(2, sparse), three(3, sparse);
    CHECK(two.students->parts() == 2);
    CHECK(three.students->parts() == 3);
    const std::vector<float> before = one.students->parameters();
    for (CpuStage* stage : {&one, &two, &three}) {
      while (!stage->stage->finished()) stage->stage->step();
    }
    CHECK(one.students->parameters() != before);
    check_same(one, two);
    check_same(one, three);
    for (CpuStage* stage : {&one, &two, &three}) stage->stage->finish();
    check_same(one, two);
    check_same(one, three);
  }
}

TEST_CASE("a training continues on another number of devices to the same bits") {
  for (const char* sparse : {static_cast<const char*>(nullptr), "FSFSFS"}) {
    CpuStage whole(1, sparse), begun(3, sparse), continued(2, sparse);
    steps(whole, 6);
    steps(begun, 3);
    continued.stage->state() = begun.stage->state();
    continued.students->restore(begun.students->state());
    steps(continued, 3);
    check_same(whole, continued);
  }
}

TEST_CASE("shared students have the same weights on every device, and follow changes") {
  CpuStage stage(3, "FSFSFS");
  DealtStudents& students = *stage.students;
  std::vector<float> parameters = students.parameters();
  std::iota(parameters.begin(), parameters.end(), 1.0f);
  students.set_parameters(parameters);
  CpuBackend backend(1);
  for (std::size_t i = 0; i < students.size(); ++i) {
    const auto first = backend.download(students.weights(0, i).wq_b);
    CHECK(first.front() == parameters[i * parameters.size() / students.size()]);
    for (std::size_t p = 1; p < students.parts(); ++p) {
      CHECK(backend.download(students.weights(p, i).wq_b) == first);
      CHECK(backend.download(students.weights(p, i).k_norm) ==
            backend.download(students.weights(0, i).k_norm));
    }
  }
}

TEST_CASE("what one device throws ends the step of all, and the students stay as they were") {
  CpuStage stage(2);
  steps(stage, 1);
  std::vector<float> parameters = stage.students->parameters();
  parameters.back() = std::numeric_limits<float>::quiet_NaN();  // of the last device
  stage.students->set_parameters(parameters);
  CHECK_THROWS_AS(stage.stage->step(), InputError);
  CHECK(stage.stage->state().step == 1);
  const std::vector<float> after = stage.students->parameters();
  CHECK(std::equal(after.begin(), after.end() - 1, parameters.begin()));
  int ended = 0;
  CHECK_THROWS_AS(stage.students->for_each_part([&](std::size_t p) {
    if (p == 1) throw Interrupted(2);
    ++ended;
  }),
                  Interrupted);
  CHECK(ended == 1);
}
