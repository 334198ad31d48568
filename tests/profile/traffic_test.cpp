// SPDX-License-Identifier: Apache-2.0
// Times of requests from times of passes.
#include "profile/traffic.h"

#include "profile/contexts.h"
#include "support/catch.h"
#include "support/refusal.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Lengths lengths_of(std::vector<LengthCount> prompts) {
  Lengths lengths{.file = "folder/lengths.csv", .sha256 = std::string(64, 'a'), .prompts = prompts};
  for (const LengthCount& prompt : prompts) {
    lengths.requests += prompt.count;
    lengths.prompt_tokens += prompt.count * prompt.prompt;
  }
  return lengths;
}

double quadratic(std::int64_t n) {
  const auto x = static_cast<double>(n);
  return 3 + 0.5 * x + 0.25 * x * x;
}

}  // namespace

TEST_CASE("a curve goes through every point, and between them is exact for a + b n + c n^2") {
  std::vector<TimeCurve::Point> points;
  for (const std::int64_t n : {4, 8, 20, 64}) points.emplace_back(n, quadratic(n));
  const TimeCurve curve(points, 4);
  for (std::int64_t n = 4; n <= 64; ++n) CHECK(curve.at(n) == Approx(quadratic(n)).epsilon(1e-12));
  const TimeCurve odd({{3, 0.1}, {7, 0.7}, {11, 0.3}}, 0);
  CHECK(odd.at(3) == 0.1);
  CHECK(odd.at(7) == 0.7);
  CHECK(odd.at(11) == 0.3);
}

TEST_CASE("what is measured below index_topk does not bend the curve above it") {
  const TimeCurve curve({{2, 1.0}, {10, 5.0}, {20, 30.0}, {40, 170.0}}, 10);
  CHECK(curve.at(6) == Approx(3.0));  // a line: the next point lies on the other side
  // Through (10, 5), (20, 30) and (40, 170): slopes 2.5 and 7, bend 4.5 / 30.
  CHECK(curve.at(15) == Approx(5 + 2.5 * 5 + 0.15 * 5 * -5));
  CHECK(curve.at(30) == Approx(30 + 7 * 10 + 0.15 * 10 * -10));
  const TimeCurve across({{2, 1.0}, {20, 19.0}, {40, 99.0}}, 10);
  CHECK(across.at(11) == Approx(10.0));  // neither side is known
}

TEST_CASE("requests of one measured length take exactly what was measured") {
  const TimeCurve curve({{100, 0.1}, {300, 1.0 / 3}, {1000, 1.7}}, 64);
  const FirstTokenTimes times = first_token_times(lengths_of({{300, 7, 1}}), curve);
  CHECK(times == FirstTokenTimes{1.0 / 3, 1.0 / 3, 1.0 / 3, 1.0 / 3});
}

TEST_CASE("percentiles count requests, not lengths") {
  const TimeCurve curve({{1, 1.0}, {2, 2.0}, {3, 3.0}, {4, 10.0}}, 0);
  const Lengths lengths = lengths_of({{1, 50, 1}, {2, 39, 2}, {3, 10, 3}, {4, 1, 4}});
  const FirstTokenTimes times = first_token_times(lengths, curve);
  CHECK(times.mean == Approx((50 + 78 + 30 + 10) / 100.0));
  CHECK(times.median == 1.0);
  CHECK(times.p90 == 3.0);
  CHECK(times.p99 == 3.0);
  const Traffic traffic = compose_traffic(lengths, std::vector{curve, curve}, 1, 4);
  CHECK(traffic.source == "lengths.csv");
  REQUIRE(traffic.times.size() == 2);
  CHECK(traffic.tokens_per_second(1) == Approx(162 / 168.0));
}

TEST_CASE("requests beyond what was measured are refused with their line") {
  const Lengths lengths = lengths_of({{50, 1, 9}, {5000, 1, 4}});
  CHECK_THAT(refusal_of([&] { compose_traffic(lengths, {}, 100, 5000); }),
             Contains("lengths.csv:9") && Contains("50 tokens; measured were 100 to 5,000"));
  CHECK_THAT(refusal_of([&] { compose_traffic(lengths, {}, 50, 4999); }),
             Contains("lengths.csv:4") && Contains("leave --context out"));
}

TEST_CASE("default contexts suit the model, or cover the requests") {
  using Contexts = std::vector<std::int64_t>;
  CHECK(default_contexts({2048, 1 << 20}) == Contexts{10000, 16384, 32768, 65536, 131072, 200000});
  CHECK(default_contexts({2048, 163840}) == Contexts{10000, 16384, 32768, 65536, 131072});
  CHECK(default_contexts({128, 8192}) == Contexts{2048, 4096, 8192});
  CHECK(default_contexts({3000, 8192}) == Contexts{4096, 8192});
  CHECK(default_contexts({2048, 1 << 20}, std::pair(900, 40000)) ==
        Contexts{900, 1024, 2048, 4096, 10000, 16384, 32768, 40000});
  CHECK(default_contexts({700, 1 << 20}, std::pair(600, 1000)) == Contexts{600, 700, 1000});
  CHECK(default_contexts({2048, 1 << 20}, std::pair(77, 77)) == Contexts{77});
}
