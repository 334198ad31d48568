// SPDX-License-Identifier: Apache-2.0
// A job of several ranks, each a thread: the same bits as one rank, and the end of those that fail.
#include "ranks/ranks.h"

#include "core/interrupt.h"
#include "ranks/loopback.h"
#include "ranks/remote_worker.h"
#include "search/reference_case.h"
#include "support/catch.h"
#include "support/spread_session.h"

#include <csignal>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const Fingerprint kSame = {{"program version", "1"}, {"calibration tokens sha256", "abc"}};

// What a computing rank does, with one device.
int compute(std::shared_ptr<LoopbackNetwork> network, int rank, const Fingerprint& fingerprint,
            const std::function<SweepWorker&(const RankGoal&)>& worker_of) {
  Ranks ranks(std::make_unique<LoopbackCommunicator>(std::move(network), rank));
  int code = 0;
  try {
    const std::string weights = ranks.introduce(fingerprint, {"CPU 0"});
    if (weights != "resident") std::abort();  // Catch's macros are for the main thread
    code = ranks.serve(
        1, [&](std::size_t, const RankGoal& goal) -> SweepWorker& { return worker_of(goal); });
  } catch (const RankDismissed& dismissed) {
    code = dismissed.code;
  }
  ranks.leave(code);
  return code;
}

std::vector<Pattern> some_patterns() {
  std::vector<Pattern> patterns;
  for (const char* text : {"FFFFFFFFFFFFFFFF", "FSSSSSSSSSSSSSSS", "FFFSFFFFFFFFFFFF",
                           "FFFSFFFSFFFFFFFF", "FSFSFSFSFSFSFSFS"}) {
    patterns.push_back(Pattern::parse(text));
  }
  return patterns;
}

class FailingWorker : public SweepWorker {
 public:
  explicit FailingWorker(std::exception_ptr failure) : failure_(std::move(failure)) {}
  std::string name() const override { return "failing"; }
  SweepOutput compute(const SweepTask&, const SweepReports&) override {
    std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
};

}  // namespace

TEST_CASE("three ranks compute the bits of one") {
  const TokenSet tokens = uneven_sequences(300);
  const auto patterns = some_patterns();
  SpreadSession one(1);
  const auto expected = one.evaluator(tokens).losses(patterns);
  const OverlapPass expected_pass = one.evaluator(tokens).measure_overlap(patterns[0]);

  const auto network = std::make_shared<LoopbackNetwork>(3);
  std::vector<int> codes(3, -1);
  std::vector<std::jthread> others;
  for (int rank : {1, 2}) {
    others.emplace_back([&, rank] {
      Session<> session(data("dsa-mini"), std::nullopt, Placement::resident, 1);
      DeviceWorker worker("CPU 0", session.backend, session.evaluator(tokens));
      codes[static_cast<std::size_t>(rank)] =
          compute(network, rank, kSame, [&](const RankGoal& goal) -> SweepWorker& {
            if (goal.tokens_sha256 != "abc") std::abort();
            return worker;
          });
    });
  }
  Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
  ranks.admit(kSame, "resident");
  REQUIRE(ranks.devices().size() == 2);
  CHECK(ranks.devices()[1].name == "rank 2 CPU 0");
  std::vector<std::unique_ptr<SweepWorker>> workers;
  for (const RemoteDevice& device : ranks.devices()) {
    workers.push_back(ranks.worker(device, {"abc", Objective::loss, std::nullopt}));
  }
  CpuBackend backend(1);
  SpreadUse use{{{"rank 1"}, {"rank 2"}}, 0};
  SpreadEvaluator evaluator(std::move(workers), SweepPlanner(one.config(), backend, tokens, kRoomy),
                            one.rates(), tokens.predicted(), use);
  CHECK(evaluator.losses(patterns) == expected);
  const OverlapPass pass = evaluator.measure_overlap(patterns[0]);
  CHECK(pass.losses == expected_pass.losses);
  CHECK(pass.overlap.counts == expected_pass.overlap.counts);
  CHECK(use.workers[0].tasks > 0);
  CHECK(use.workers[1].tasks > 0);
  // One that is given up leaves its rank ready for the next.
  const LossRequest request{patterns, evaluator.all_sequences(), [](const LossPart&) {
                              throw ResourceError({"the disk is full", "", "", ""});
                            }};
  CHECK_THROWS_AS(evaluator.losses(request), ResourceError);
  CHECK(evaluator.losses(patterns) == expected);
  ranks.leave(0);
  others.clear();
  CHECK(codes[1] == 0);
  CHECK(codes[2] == 0);
}

TEST_CASE("a rank with other data, or another version, is refused by name") {
  for (const Fingerprint& other :
       {Fingerprint{{"program version", "1"}, {"calibration tokens sha256", "abd"}},
        Fingerprint{{"program version", "2"}, {"calibration tokens sha256", "abc"}},
        Fingerprint{{"program version", "1"}},
        Fingerprint{{"program version", "1"}, {"calibration tokens sha256", "abc"}, {"x", "y"}}}) {
    const auto network = std::make_shared<LoopbackNetwork>(2);
    int code = -1;
    std::jthread computing([&] {
      code = compute(network, 1, other, [](const RankGoal&) -> SweepWorker& { std::abort(); });
    });
    Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
    try {
      ranks.admit(kSame, "resident");
      FAIL("it was not refused");
    } catch (const InputError& error) {
      CHECK_THAT(error.describe(), Contains("the ranks would not compute the same") &&
                                       Contains("rank 1 (") && Contains("differs"));
    }
    ranks.leave(3);
    computing.join();
    CHECK(code == 3);
  }
}

TEST_CASE("a rank with devices of another kind is refused, unless kinds may be mixed") {
  const Fingerprint here = {{"program version", "1"}, {"device", "A"}};
  const Fingerprint there = {{"program version", "1"}, {"device", "B + C"}};
  const Fingerprint newer = {{"program version", "2"}, {"device", "B"}};
  const auto kinds_with = [&](const Fingerprint& other, bool mixed) {
    const auto network = std::make_shared<LoopbackNetwork>(2);
    std::jthread computing(
        [&] { compute(network, 1, other, [](const RankGoal&) -> SweepWorker& { std::abort(); }); });
    Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
    try {
      ranks.admit(here, "resident", mixed);
    } catch (const InputError& error) {
      ranks.leave(3);
      return error.describe();
    }
    ranks.leave(0);
    return ranks.kinds().at(0);
  };
  CHECK_THAT(kinds_with(there, false), Contains("device differs"));
  CHECK(kinds_with(there, true) == "B + C");
  CHECK_THAT(kinds_with(newer, true), Contains("program version differs"));
}

TEST_CASE("what fails on a rank fails on rank 0, with its code and the rank's name") {
  const auto network = std::make_shared<LoopbackNetwork>(2);
  FailingWorker worker(
      std::make_exception_ptr(ResourceError({"out of device memory", "GPU 0", "", ""})));
  int code = -1;
  std::jthread computing([&] {
    code = compute(network, 1, kSame, [&](const RankGoal&) -> SweepWorker& { return worker; });
  });
  Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
  ranks.admit(kSame, "resident");
  const auto remote = ranks.worker(ranks.devices().front(), {});
  try {
    remote->compute({{Pattern::parse("FS")}, {0}}, {});
    FAIL("the failure was lost");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::resource);
    CHECK_THAT(error.describe(),
               Contains("out of device memory") && Contains("rank 1 (") && Contains("): GPU 0"));
  }
  ranks.leave(4);
  computing.join();
  CHECK(code == 4);
}

TEST_CASE("a rank that fails before it is admitted is reported by rank 0") {
  const auto network = std::make_shared<LoopbackNetwork>(2);
  bool known = false;
  std::jthread failing([&] {
    Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 1));
    known = ranks.fail(std::make_exception_ptr(InputError({"no such file", "tokens.h5", "", ""})));
    ranks.leave(3);
  });
  Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
  try {
    ranks.admit(kSame, "resident");
    FAIL("the failure was lost");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::input);
    CHECK(error.problem().where == "rank 1: tokens.h5");
  }
  ranks.leave(3);
  failing.join();
  CHECK(known);
}

TEST_CASE("a silent rank is lost, and its name is in the error") {
  const auto network = std::make_shared<LoopbackNetwork>(2);
  std::atomic<int> reports{0};
  PostOffice post(std::make_unique<LoopbackCommunicator>(network, 0), PostOffice::Duration{50},
                  PostOffice::Duration{1}, [&](const Error& error) {
                    if (error.code() == ExitCode::resource) ++reports;
                  });
  post.watch({{"here", 1}, {"elsewhere", 4321}});
  try {
    post.receive(1, kControl, PostOffice::Duration{60'000});
    FAIL("it was not noticed");
  } catch (const ResourceError& error) {
    CHECK_THAT(error.describe(),
               Contains("rank 1 was lost") && Contains("rank 1 (elsewhere, process 4321)"));
  }
  while (reports == 0) std::this_thread::yield();
  CHECK(post.lost_within(PostOffice::Duration{0}));
}

TEST_CASE("an interrupt that a lost rank caused is reported as its loss") {
  const auto network = std::make_shared<LoopbackNetwork>(2);
  Ranks ranks(std::make_unique<LoopbackCommunicator>(network, 0));
  const auto interrupted = std::make_exception_ptr(Interrupted(SIGTERM));
  CHECK(ranks.cause_of(interrupted) == interrupted);  // nobody is lost
  Ranks alone;
  CHECK(alone.size() == 1);
  CHECK(alone.cause_of(interrupted) == interrupted);
  CHECK_FALSE(alone.fail(interrupted));
}
