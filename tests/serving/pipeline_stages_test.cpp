// SPDX-License-Identifier: Apache-2.0
// Stage starts as given by get_pp_indices of vLLM 0.33.0 and SGLang 0.5.23.
#include "serving/pipeline_stages.h"

#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Starts = std::vector<std::size_t>;

}  // namespace

TEST_CASE("stages of given sizes begin where the ones before them end") {
  CHECK(stage_starts({20, 20, 21}, 61) == Starts{20, 40});
  CHECK(stage_starts({61}, 61).empty());
  CHECK_THROWS_WITH(stage_starts({20, 20}, 61), Contains("do not add up"));
  CHECK_THROWS_WITH(stage_starts({61, 0}, 61), Contains("no layers"));
}

TEST_CASE("stages that engines cut evenly begin where either of their rules puts them") {
  CHECK(even_stage_starts(1, 78).empty());
  CHECK(even_stage_starts(2, 78) == Starts{39});
  // DeepSeek-V3.2 on two: vLLM 31 + 30, SGLang 30 + 31.
  CHECK(even_stage_starts(2, 61) == Starts{30, 31});
  // On four: vLLM 15, 15, 16, 15; SGLang 15, 15, 15, 16.
  CHECK(even_stage_starts(4, 61) == Starts{15, 30, 45, 46});
  // GLM-5 on four: vLLM 19, 20, 20, 19; SGLang 19, 19, 20, 20.
  CHECK(even_stage_starts(4, 78) == Starts{19, 38, 39, 58, 59});
  CHECK(even_stage_starts(4, 4) == Starts{1, 2, 3});
  CHECK_THROWS_AS(even_stage_starts(0, 61), UsageError);
  CHECK_THROWS_AS(even_stage_starts(62, 61), UsageError);
}

TEST_CASE("stages that begin on F layers, as even as the pattern allows") {
  using Sizes = std::vector<std::size_t>;
  CHECK(stages_on_full_layers(Pattern::parse("FSSFSF"), 1) == Sizes{6});
  CHECK(stages_on_full_layers(Pattern::parse("FSSFSF"), 2) == Sizes{3, 3});
  CHECK(stages_on_full_layers(Pattern::parse("FSSFSF"), 3) == Sizes{3, 2, 1});
  CHECK(stages_on_full_layers(Pattern::parse("FSSFSF"), 4) == std::nullopt);
  // The paper's 30B pattern on two: 24 is S; 23 and 28 are F, and 24 + 23 is the smaller maximum.
  const Pattern paper = Pattern::parse("FSFSFSSSSFSSSFSSFFSSFSSFSSSSFSSSFSSSSFSSSSSSSSS");
  CHECK(stages_on_full_layers(paper, 2) == Sizes{23, 24});
  const auto four = stages_on_full_layers(paper, 4);
  REQUIRE(four);
  for (const std::size_t start : stage_starts(*four, 47)) CHECK(paper.is_full(start));
}
