// SPDX-License-Identifier: Apache-2.0
#include "serving/pattern_forms.h"

#include "support/catch.h"
#include "support/refusal.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string parsed(const std::string& text, std::optional<std::size_t> layers = 6) {
  std::string pattern;
  const std::string refusal =
      refusal_of([&] { pattern = parse_pattern_form(text, layers, "test").text(); });
  return pattern.empty() ? refusal : pattern;
}

}  // namespace

TEST_CASE("patterns in every form") {
  CHECK(parsed("FSFSSS", std::nullopt) == "FSFSSS");
  CHECK(parsed("0,2") == "FSFSSS");
  CHECK(parsed("0, 2") == "FSFSSS");
  CHECK(parsed("[0, 2]") == "FSFSSS");
  CHECK(parsed("full,shared,full,shared,shared,shared", std::nullopt) == "FSFSSS");
  CHECK(parsed(R"(["full","shared","full"])", std::nullopt) == "FSF");
  CHECK(parsed("uniform:2") == "FSFSFS");
  CHECK(parsed("freq:2") == "FFSFSF");
  CHECK(parsed("freq:2,rule:A") == "FFSFSF");
  CHECK(parsed("freq:2,rule:C") == "FSFSFS");
  CHECK(parsed("freq:2,offset:3,rule:b") == "FFFSFS");
  CHECK(parsed("freq:2,rule:D,offset:3") == "FFFFSF");
  CHECK(parsed(R"({"index_topk_pattern": "FSFSSS"})", std::nullopt) == "FSFSSS");
  CHECK(parsed(R"({"indexer_types": ["full", "shared"]})", std::nullopt) == "FS");
  CHECK(parsed(R"({"use_index_cache": true, "index_topk_freq": 4})") == "FFSSSF");
  CHECK(parsed(R"({"num_hidden_layers": 4, "index_topk_freq": 2})", std::nullopt) == "FFSF");
}

TEST_CASE("patterns that engines would read differently are refused, unless one is named") {
  const std::string both = R"({"index_topk_pattern": "FSFSSS", "num_hidden_layers": 6,
    "model_type": "glm_moe_dsa",
    "indexer_types": ["full", "full", "shared", "full", "shared", "full"]})";
  CHECK_THAT(parsed(both), Contains("engines read different patterns") && Contains("vllm:FILE") &&
                               Contains("FFSFSF (sglang"));
  const EngineProfile& vllm = *choose_profile("vllm", "").profile;
  CHECK(pattern_from_json(Json::parse(both), 6, "test", &vllm).text() == "FSFSSS");
  CHECK_THAT(parsed(R"({"index_topk_freq": 2, "index_skip_topk_offset": 3})"),
             Contains("engines read different patterns"));  // ATOM's rule D
}

TEST_CASE("text that is not a pattern is refused with the reason") {
  CHECK_THAT(parsed("FSX"), Contains("letter 3 of"));
  CHECK_THAT(parsed("fsfsss"), Contains("other than F and S"));
  CHECK_THAT(parsed("SFFFFF"), Contains("starts with S"));
  CHECK_THAT(parsed("FSF"), Contains("it has 3 letters, patterns of this model have 6"));
  CHECK_THAT(parsed("0,6"), Contains("layer 6 does not exist"));
  CHECK_THAT(parsed("0,2,2"), Contains("layer 2 is listed twice"));
  CHECK_THAT(parsed("2,4"), Contains("starts with S"));
  CHECK_THAT(parsed("0,2", std::nullopt), Contains("model is not known"));
  CHECK_THAT(parsed("0,,2"), Contains("test"));
  CHECK_THAT(parsed("full,half"), Contains("\"half\""));
  CHECK_THAT(parsed("uniform:0"), Contains("at least 1"));
  CHECK_THAT(parsed("freq:0"), Contains("at least 1"));
  CHECK_THAT(parsed("freq:4,offset:0"), Contains("at least 1"));
  CHECK_THAT(parsed("freq:4,rule:E"), Contains("the rules are A, B, C and D"));
  CHECK_THAT(parsed("freq:4,rule:A,offset:3"), Contains("no offset"));
  CHECK_THAT(parsed("freq:4,freq:3"), Contains("repeated"));
  CHECK_THAT(parsed("freq:4,phase:3"), Contains("\"phase\""));
  CHECK_THAT(parsed("{}"), Contains("no engine finds a schedule"));
  CHECK_THAT(parsed("{}", std::nullopt), Contains("no key \"pattern\""));
  CHECK_THAT(parsed("{"), Contains("error: "));
  CHECK_THAT(parsed("[1.5]"), Contains("layer numbers"));
  CHECK_THAT(parsed("[[0]]"), Contains("layer numbers"));
  CHECK_THAT(parsed(""), Contains("pattern"));
  CHECK_THAT(parsed(R"({"index_topk_pattern": "SF"})", std::nullopt),
             Contains("vllm: layer 0 is shared"));
}
