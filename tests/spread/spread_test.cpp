// SPDX-License-Identifier: Apache-2.0
// How tasks are computed by workers that fail, wait or are slow.
#include "search/spread.h"

#include "core/error.h"
#include "support/catch.h"

#include <latch>
#include <thread>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A worker that does what a test wants.
class ScriptedWorker : public SweepWorker {
 public:
  using Script = std::function<void(const SweepTask&, const SweepReports&)>;
  using Preparation = std::function<void(const std::function<bool()>&)>;
  explicit ScriptedWorker(Script script, Preparation preparation = {})
      : script_(std::move(script)), preparation_(std::move(preparation)) {}

  std::string name() const override { return "scripted"; }
  SweepOutput compute(const SweepTask& task, const SweepReports& reports) override {
    script_(task, reports);
    SweepOutput output;
    for (std::size_t p = 0; p < task.patterns.size(); ++p) {
      output.losses.emplace_back(task.sequences.begin(), task.sequences.end());
    }
    return output;
  }
  void prepare(const std::function<bool()>& stopped) override {
    if (preparation_) preparation_(stopped);
  }

 private:
  Script script_;
  Preparation preparation_;
};

std::vector<SweepTask> tasks_of(std::size_t count) {
  std::vector<SweepTask> tasks;
  for (std::size_t s = 0; s < count; ++s) tasks.push_back({{Pattern::parse("FS")}, {s}});
  return tasks;
}

using Workers = std::vector<std::unique_ptr<SweepWorker>>;

void report(const SweepTask& task, const SweepReports& reports) {
  const std::size_t pattern = 0;
  const SequenceLosses losses = {1.5};
  reports.part_done({std::span(&pattern, 1), task.sequences, std::span(&losses, 1)});
}

SpreadUse use_of(const Workers& workers) {
  SpreadUse use;
  for (const auto& worker : workers) use.workers.push_back({worker->name()});
  return use;
}

}  // namespace

TEST_CASE("a worker without a task prepares for its first one meanwhile, once a request") {
  Workers workers;
  std::latch computing(1), prepared(1);
  int preparations = 0;
  const auto compute = [&](const SweepTask&, const SweepReports&) {
    computing.count_down();
    prepared.wait();
  };
  for (int i = 0; i < 2; ++i) {
    workers.push_back(std::make_unique<ScriptedWorker>(compute, [&](const auto& stopped) {
      computing.wait();
      CHECK_FALSE(stopped());
      ++preparations;
      prepared.count_down();
    }));
  }
  SpreadUse use = use_of(workers);
  const auto outputs = spread(workers, tasks_of(1), std::vector<SweepEstimate>(1), {}, use);
  CHECK(outputs.size() == 1);
  CHECK(preparations == 1);
  CHECK(use.workers[0].tasks + use.workers[1].tasks == 1);
  CHECK(std::min(use.workers[0].busy_seconds, use.workers[1].busy_seconds) > 0);
}

TEST_CASE("a failure while a worker prepares ends the request, and a failure ends preparing") {
  Workers workers;
  std::latch preparing(1);
  SECTION("preparing fails") {
    for (int i = 0; i < 2; ++i) {
      workers.push_back(std::make_unique<ScriptedWorker>(
          [&](const SweepTask&, const SweepReports& reports) {
            preparing.wait();
            for (;;) reports.progress(1, 2);  // until the other one has failed
          },
          [&](const auto&) {
            preparing.count_down();
            throw InputError({"a layer is broken", "", "", ""});
          }));
    }
  }
  SECTION("computing fails") {
    for (int i = 0; i < 2; ++i) {
      workers.push_back(std::make_unique<ScriptedWorker>(
          [&](const SweepTask&, const SweepReports&) {
            preparing.wait();
            throw InputError({"a layer is broken", "", "", ""});
          },
          [&](const auto& stopped) {
            preparing.count_down();
            while (!stopped()) std::this_thread::yield();
          }));
    }
  }
  SpreadUse use = use_of(workers);
  CHECK_THROWS_AS(spread(workers, tasks_of(1), std::vector<SweepEstimate>(1), {}, use), InputError);
}

TEST_CASE("all workers compute at the same time, and each task is computed once") {
  Workers workers;
  std::latch all(3);
  for (int w = 0; w < 3; ++w) {
    workers.push_back(std::make_unique<ScriptedWorker>(
        [&, first = true](const SweepTask&, const SweepReports&) mutable {
          if (std::exchange(first, false)) all.arrive_and_wait();  // hangs if one got no task
        }));
  }
  const auto tasks = tasks_of(7);
  SpreadUse use = use_of(workers);
  const auto outputs = spread(workers, tasks, std::vector<SweepEstimate>(7, {1, 1}), {}, use);
  REQUIRE(outputs.size() == 7);
  std::size_t done = 0;
  for (std::size_t t = 0; t < 7; ++t) {
    CHECK(outputs[t].losses == std::vector<SequenceLosses>{{static_cast<double>(t)}});
  }
  for (const WorkerUse& worker : use.workers) {
    CHECK(worker.tasks >= 1);
    done += worker.tasks;
  }
  CHECK(done == 7);
  CHECK(use.idle_share() >= 0);
  CHECK(use.idle_share() <= 1);
}

TEST_CASE("a worker that fails ends the others, and what was final is reported before") {
  Workers workers;
  std::latch reported(1);
  workers.push_back(std::make_unique<ScriptedWorker>([&](const SweepTask&, const SweepReports&) {
    reported.wait();
    throw ResourceError({"the device is gone", "GPU 1", "", ""});
  }));
  workers.push_back(
      std::make_unique<ScriptedWorker>([&](const SweepTask& task, const SweepReports& reports) {
        report(task, reports);
        reported.count_down();
        for (std::size_t visit = 0;; ++visit) {  // until it is told to end
          reports.progress(visit % 10, 10);
          std::this_thread::yield();
        }
      }));
  std::size_t parts = 0;
  const SpreadReports reports{[&](std::size_t, const LossPart& part) {
                                CHECK(part.losses[0] == SequenceLosses{1.5});
                                ++parts;
                              },
                              {}};
  SpreadUse use = use_of(workers);
  try {
    spread(workers, tasks_of(2), std::vector<SweepEstimate>(2, {1, 1}), reports, use);
    FAIL("the failure was lost");
  } catch (const ResourceError& error) {
    CHECK(error.problem().where == "GPU 1");
  }
  CHECK(parts == 1);
}

TEST_CASE("one worker computes on the calling thread") {
  Workers workers;
  const std::thread::id here = std::this_thread::get_id();
  workers.push_back(std::make_unique<ScriptedWorker>(
      [&](const SweepTask&, const SweepReports&) { CHECK(std::this_thread::get_id() == here); }));
  SpreadUse use = use_of(workers);
  CHECK(spread(workers, tasks_of(2), std::vector<SweepEstimate>(2), {}, use).size() == 2);
  CHECK(use.workers.front().tasks == 2);
}
