// SPDX-License-Identifier: Apache-2.0
// When sharing may not pay: only with a reason in the data of the run.
#include "present/sharing_doubts.h"

#include "support/catch.h"
#include "support/example_result.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::string> doubts_of(const Result& result) {
  return sharing_doubts(result, result.targets.back());
}

// A result that gives no reason for doubt.
Result good_result() {
  return example_result();
}

}  // namespace

TEST_CASE("a result without a reason for doubt has none") {
  CHECK(doubts_of(good_result()).empty());
  Result old = good_result();  // run.json of an earlier version
  old.indexer_share.reset();
  CHECK(doubts_of(old).empty());
}

TEST_CASE("short prefills gain little") {
  Result result = good_result();
  // Half of the indexers removed: 1 / (1 - 0.095 / 2) = 1.0499 is not worth it, and 0.096 is.
  result.indexer_share = IndexerShare{4096, 0.095};
  REQUIRE(doubts_of(result).size() == 1);
  CHECK_THAT(doubts_of(result)[0], Contains("prefills of 4,096 tokens") &&
                                       Contains("about 1.05 times as fast") &&
                                       Contains("an estimated 10%"));
  result.indexer_share = IndexerShare{4096, 0.096};
  CHECK(doubts_of(result).empty());
}

TEST_CASE("models that were trained to share have little left to save") {
  Result result = good_result();
  result.baseline = Pattern::parse("FSFSFS");
  result.targets.back().calibration.pattern = Pattern::parse("FSSSSS");
  result.indexer_share = IndexerShare{100000, 0.9};
  REQUIRE(doubts_of(result).size() == 1);
  CHECK_THAT(doubts_of(result)[0], Contains("only 3 of 6 layers own an indexer"));
}

TEST_CASE("donors that agree little are named") {
  Result result = good_result();
  std::vector<DonorOverlap>& donors = result.targets.back().donors;
  donors = {{1, 0, 0.09}, {4, 3, 0.9}, {5, 3, 0.7}};  // one of them
  REQUIRE(doubts_of(result).size() == 1);
  CHECK_THAT(doubts_of(result)[0], Contains("on average 56%") && Contains("layer 1 9%"));
  donors = {{1, 0, 0.3}, {4, 3, 0.4}, {5, 3, 0.49}};  // on average
  REQUIRE(doubts_of(result).size() == 1);
  donors = {{1, 0, 0.3}, {4, 3, 0.4}, {5, 3, 0.51}};
  CHECK(doubts_of(result).empty());
  donors.clear();
  CHECK(doubts_of(result).empty());
}

TEST_CASE("an interval that contains what a gate allows calls for more sequences") {
  Result result = good_result();
  const auto doubts = [&](double low, double high) {
    result.targets.back().holdout->delta.ci95 = std::pair(low, high);
    return doubts_of(result);
  };
  for (const double low : {-0.1, 0.02, 0.05}) {
    REQUIRE(doubts(low, 0.051).size() == 1);
    CHECK_THAT(doubts(low, 0.051)[0], Contains("reaches +0.051 nats") && Contains("allows 0.05:") &&
                                          Contains("more sequences"));
  }
  CHECK(doubts(-0.1, 0.05).empty());  // passes
  CHECK(doubts(0.051, 0.3).empty());  // fails, whatever more sequences say
  result.targets.back().holdout->delta.ci95.reset();
  CHECK(doubts_of(result).empty());
}
