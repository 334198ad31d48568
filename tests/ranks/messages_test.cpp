// SPDX-License-Identifier: Apache-2.0
// Messages arrive as they were sent, to the last bit, and damaged ones are refused.
#include "ranks/messages.h"

#include "core/interrupt.h"
#include "support/catch.h"

#include <csignal>
#include <limits>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("tasks and their goals arrive as they were sent") {
  RankTask sent;
  sent.goal = {"abc", Objective::kl, Pattern::parse("FFF"), Hisa{64, 32}, true};
  sent.task = {
      {Pattern::parse("FSF"), Pattern::parse("FFS")}, {0, 7, 9}, {true, 4, true, Hisa{16, 4}}};
  const RankTask got = decode_task(encode(sent));
  CHECK(got.goal == sent.goal);
  CHECK(got.task.patterns == sent.task.patterns);
  CHECK(got.task.sequences == sent.task.sequences);
  CHECK(got.task.extras == sent.task.extras);
  sent.goal.reference.reset();
  CHECK(decode_task(encode(sent)).goal == sent.goal);
}

TEST_CASE("outputs keep every bit") {
  SweepOutput sent;
  sent.losses = {{0.1, std::numeric_limits<double>::denorm_min()}, {-0.0, 1e300}};
  FidelitySums sums;
  sums.kl = {0.5f, 1e-40f};
  sums.kl_sum = 1.0 / 3;
  sums.same_top = 7;
  sums.buckets = {{3, 0.25, 1.0 / 7}, {}};
  sent.fidelity = {{sums, sums}, {sums, {}}};
  sent.overlap = {3, 128, {256, 512}, {5, 6}, std::vector<std::int64_t>(18, 1LL << 40), 2};
  QueryOverlap along;
  along.index_topk = 4;
  along.layers = {0, 2};
  along.counts = {1, 2, 3};
  sent.along_queries = along;
  IndexerOverlap indexers;
  indexers.method = {32, 8};
  indexers.layers = {0, 3};
  indexers.queries = {5};
  indexers.counts = {7, 9};
  indexers.least = {0, 1};
  sent.indexers = indexers;
  const SweepOutput got = decode_output(encode(sent));
  CHECK(got.losses == sent.losses);
  CHECK(std::signbit(got.losses[1][0]));
  REQUIRE(got.fidelity.size() == 2);
  CHECK(got.fidelity[0][1].kl == sums.kl);
  CHECK(got.fidelity[0][1].kl_sum == sums.kl_sum);
  CHECK(got.fidelity[1][0].same_top == 7);
  CHECK(got.fidelity[1][0].buckets[0].loss == 1.0 / 7);
  CHECK(got.fidelity[1][1].kl.empty());
  CHECK(got.overlap.counts == sent.overlap.counts);
  CHECK(got.overlap.bucket_ends == sent.overlap.bucket_ends);
  CHECK(got.overlap.query_step == 2);
  REQUIRE(got.along_queries);
  CHECK(got.along_queries->layers == along.layers);
  CHECK(got.along_queries->counts == along.counts);
  REQUIRE(got.indexers);
  CHECK(got.indexers->method == Hisa{32, 8});
  CHECK(got.indexers->layers == indexers.layers);
  CHECK(got.indexers->queries == indexers.queries);
  CHECK(got.indexers->counts == indexers.counts);
  CHECK(got.indexers->least == indexers.least);
}

TEST_CASE("failures keep their code and text, and name the rank") {
  const auto sent = std::make_exception_ptr(InputError({"what", "where", "why", "try"}));
  try {
    throw_failure(encode_failure(sent), "rank 3");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::input);
    CHECK(error.problem().what == "what");
    CHECK(error.problem().where == "rank 3: where");
    CHECK(error.problem().why == "why");
    CHECK(error.problem().remedy == "try");
  }
  try {
    throw_failure(encode_failure(std::make_exception_ptr(Interrupted(SIGTERM))), "rank 3");
  } catch (const Interrupted& interrupted) {
    CHECK(interrupted.signal() == SIGTERM);
  }
}

TEST_CASE("a message that ends early, or of another kind, is refused") {
  const std::string whole = encode(Welcome{{{"node", 5}, {"other", 6}}, "stream"});
  CHECK(decode_welcome(whole).ranks[1].process == 6);
  CHECK(decode_welcome(whole).weights == "stream");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK_THROWS_AS(decode_welcome(whole.substr(0, size)), InternalError);
  }
  CHECK_THROWS_AS(decode_hello(whole), InternalError);
  CHECK(decode_end(encode_end(4)) == 4);
}
