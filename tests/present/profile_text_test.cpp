// SPDX-License-Identifier: Apache-2.0
// A profile in words and numbers, of given times.
#include "present/profile_text.h"

#include "present/charts_profile.h"
#include "present/page_profile.h"
#include "support/catch.h"
#include "support/example_profile.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("a profile is printed as tables of parts, limits, patterns and requests") {
  CHECK(profile_text(example_profile()) ==
        R"(m, cuda Test indexer fp8: prefills of one sequence, median of 3
  tokens                    8,192          32,768
  sequences                     1               1
  every indexer, parts         ms share        ms share
  projections               162.5 65%       625.0 50%
  indexer logits            46.88 19%       375.0 30%
  top-k                     15.62 6%        125.0 10%
  gaps                      25.00 10%       125.0 10%
  sum of the parts          250.0            1250
  pass without stamps       250.0            1250
  a copy of index sets      1.000           4.000

  indexers                    25%             40%
  no pattern can save         75%             60%
  limit of the speed-up     1.33x           1.67x

  patterns                     ms              ms
  full                      250.0 1.00x      1250 1.00x
  run                       226.6 1.10x      1000 1.25x
  FFFFFF  6 F  full
  FSFSSS  2 F  run

1,000 requests of requests.csv, 9,000,000 prompt tokens: time to the first token, )"
        "composed of measured passes of one sequence (no queue, no batch, no engine)\n"
        R"(  ms                          mean    median       P90       P99  speed-up    tokens/s
  full                       300.0     250.0     500.0      1250     1.00x       30000
  run                        260.0     226.6     430.0      1000     1.15x       34615
)");
  Profile decoding = example_profile();
  decoding.decode = {decoding.prefill.back()};
  decoding.decode.front().batch = 8;
  decoding.decode.front().set_copy_seconds.reset();
  const std::string text = profile_text(decoding);
  const std::string steps = text.substr(text.find("steps of decoding"));
  CHECK_THAT(steps, Contains("  sequences                     8\n") &&
                        Contains("  run                        1000 1.25x\n") &&
                        !Contains("a copy of index sets"));
  Profile empty = example_profile();
  empty.prefill.clear();
  CHECK(profile_text(empty) == measured_text(empty) + "\n");
  CHECK(profile_html(empty).empty());
}

TEST_CASE("a profile on a CPU, or by HISA, says so") {
  Profile profile = example_profile();
  profile.gpu = false;
  profile.model.indexer = "hisa:block=128,blocks=64";
  CHECK_THAT(measured_text(profile), Contains("indexer hisa:block=128,blocks=64") &&
                                         Contains("a CPU says little about the shares on a GPU"));
}

TEST_CASE("every part of a pass belongs to one group of the chart") {
  const Profile profile = example_profile();
  for (const ProfilePoint& point : profile.prefill) {
    const PatternTime& time = point.times.front();
    double sum = 0;
    for (const PartGroup& group : part_groups()) sum += group_share(time, group);
    CHECK(sum == Approx(1));
    CHECK(group_share(time, part_groups().front()) == Approx(time.indexer_share()));
    CHECK(group_share(time, part_groups().back()) == Approx(0.1));  // the gaps
  }
  CHECK_THAT(part_shares(profile).document(), Contains("32,768 tokens, indexers: 40.0%"));
  CHECK_THAT(speed_up_lines(profile).document(),
             Contains("32,768 tokens, run: 1.25x") &&
                 Contains("32,768 tokens, limit of any pattern: 1.67x"));
}

TEST_CASE("a page shows parts, speed-ups and requests, and nothing of a name is markup") {
  Profile profile = example_profile();
  profile.patterns[1].name = "<b>run</b>";
  const std::string page = profile_html(profile);
  CHECK_THAT(page, Contains("Where does the time of a prefill go?") &&
                       Contains("How much faster is a prefill?") &&
                       Contains("1,000 requests of requests.csv") &&
                       Contains("no queue, no batch, no engine") && Contains("1.67x") &&
                       Contains("&lt;b&gt;run"));
  CHECK_THAT(page, !Contains("<b>run"));
  CHECK_THAT(page, !Contains("step of decoding"));
  profile.decode = {profile.prefill.back()};
  CHECK_THAT(profile_html(profile), Contains("How much faster is a step of decoding?"));
  profile.traffic.reset();
  CHECK_THAT(profile_html(profile), !Contains("for your requests"));
}
