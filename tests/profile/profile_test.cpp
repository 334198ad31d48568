// SPDX-License-Identifier: Apache-2.0
// Prefills by context and pattern, on a fake clock and on the CPU, and profile.json.
#include "backend/cpu/cpu_backend.h"
#include "io/files.h"
#include "model/config.h"
#include "model/synthetic_weights.h"
#include "profile/device_prefill.h"
#include "profile/profile_json.h"
#include "support/catch.h"
#include "support/example_profile.h"
#include "support/files.h"
#include "support/refusal.h"

#include <limits>
#include <map>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The n-th timed pass of a pattern takes the n-th of its times, times its context.
class ScriptedTimer : public PrefillTimer {
 public:
  void begin(std::int64_t context) override {
    context_ = static_cast<double>(context);
    passes_.clear();
  }
  void warm_up(const Pattern& pattern) override {
    order += "warm " + pattern.text() + " ";
    passes_[pattern.text()] = 1;
  }
  double time(const Pattern& pattern) override {
    order += pattern.text() + " ";
    static constexpr double kTimes[] = {3, 1, 2};
    return context_ * kTimes[passes_[pattern.text()]++ - 1];
  }
  ComponentProfile time_components(const Pattern& pattern) override {
    order += "parts of " + pattern.text() + " ";
    const auto factor = static_cast<double>(passes_[pattern.text()]);
    ComponentProfile profile;
    ComponentSeconds& seconds = profile.seconds;
    profile.pieces[static_cast<std::size_t>(Component::top_k)] = 1;
    seconds[static_cast<std::size_t>(Component::top_k)] = factor * context_;
    seconds[static_cast<std::size_t>(Component::gaps)] = factor;
    return profile;
  }
  double time_set_copy() override { return 0.5; }

  std::string order;

 private:
  double context_ = 0;
  std::map<std::string, int> passes_;
};

}  // namespace

TEST_CASE("patterns warm up, passes take turns, and medians are reported") {
  ScriptedTimer timer;
  const std::vector<Pattern> patterns = {Pattern::all_full(2), Pattern::parse("FS")};
  const std::vector<std::int64_t> contexts = {10, 20};
  std::size_t last = 0, total = 0;
  const auto points =
      profile_prefill(timer, patterns, contexts, 3, [&](std::size_t done, std::size_t all) {
        CHECK(done == last + 1);
        last = done;
        total = all;
      });
  CHECK(last == 28);
  CHECK(total == 28);
  const std::string turn = "FF parts of FF FS parts of FS ";
  const std::string context = "warm FF warm FS " + turn + turn + turn;
  CHECK(timer.order == context + context);
  REQUIRE(points.size() == 2);
  CHECK(points[1].context == 20);
  CHECK(points[1].set_copy_seconds == 0.5);
  REQUIRE(points[1].times.size() == 2);
  const PatternTime& time = points[1].times[1];
  CHECK(time.seconds == 40);
  CHECK(time.parts.size() == kComponents - 1);  // without the loss
  CHECK(time.stamped_seconds == 63);            // of the pass with the median sum
  CHECK(time.seconds_of("top-k") == 37);        // its only stamp took 23
  CHECK(time.seconds_of("gaps") == 3);
  CHECK(time.parts_seconds() == 40);
  CHECK(time.indexer_share() == Approx(37 / 40.0));
}

TEST_CASE("a pass on the CPU has every part that its pattern needs, and no loss") {
  const ModelConfig config = parse_config(
      parse_json(read_file(data("dsa-mini") / "config.json"), "config.json"), "config.json");
  CpuBackend cpu(1);
  SyntheticWeights weights(config, cpu, true);
  DevicePrefill prefill(config, weights, cpu, {});
  const Pattern full = Pattern::all_full(static_cast<std::size_t>(config.layers));
  const auto part = [](const ComponentSeconds& seconds, Component component) {
    return seconds[static_cast<std::size_t>(component)];
  };
  prefill.begin(config.first_selecting_position() + 40);
  CHECK(prefill.fits(1 << 20));  // memory of a CPU is not enforced
  CHECK(prefill.time(full) > 0);
  CHECK(prefill.time_set_copy() > 0);
  const ComponentSeconds seconds = prefill.time_components(full).seconds;
  for (const Component needed :
       {Component::projections, Component::indexer_projections, Component::indexer_logits,
        Component::top_k, Component::sparse_attention, Component::key_writes,
        Component::index_key_writes, Component::experts, Component::norms, Component::gaps}) {
    INFO(kComponentNames[static_cast<std::size_t>(needed)]);
    CHECK(part(seconds, needed) > 0);
  }
  CHECK(part(seconds, Component::loss) == 0);
  // Too short to select: the only position attends to itself.
  prefill.begin(1);
  CHECK(prefill.time(full) > 0);
  CHECK(prefill.time_set_copy() == 0);
  CHECK(part(prefill.time_components(full).seconds, Component::top_k) == 0);
}

TEST_CASE("a model whose numbers are not finite is not timed") {
  const ModelConfig config = parse_config(
      parse_json(read_file(data("dsa-mini") / "config.json"), "config.json"), "config.json");
  CpuBackend cpu(1);
  SyntheticWeights weights(config, cpu, true);
  cpu.fill_random(weights.outer().final_norm, 0.0f, std::numeric_limits<float>::quiet_NaN(), 1);
  DevicePrefill prefill(config, weights, cpu, {});
  const std::vector<Pattern> patterns = {
      Pattern::all_full(static_cast<std::size_t>(config.layers))};
  const std::vector<std::int64_t> contexts = {8};
  CHECK_THAT(
      refusal_of([&] { profile_prefill(prefill, patterns, contexts, 1, [](auto, auto) {}); }),
      Contains("the loss is not finite"));
}

TEST_CASE("profile.json is read as it was written") {
  const Profile profile = example_profile();
  Profile read = profile_from_json(to_json(profile), "profile.json");
  CHECK(read.file == "profile.json");
  read.file.clear();
  CHECK(read == profile);
  CHECK(read.prefill_at(32768)->speed_up(1) == 1.25);
  CHECK(read.prefill_at(1000) == nullptr);
  CHECK(read.place_of(Pattern::parse("FSFSSS")) == 1);
  CHECK(read.place_of(Pattern::parse("FFSSSS")) == std::nullopt);
  const ProfilePoint& point = read.prefill.back();
  CHECK(point.times.front().indexer_share() == Approx(0.4));
  CHECK(point.limit() == Approx(1 / 0.6));
}

TEST_CASE("a profile that contradicts itself is refused by its key") {
  struct Case {
    const char* pointer;
    Json value;
    const char* key;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"/schema", "indexcache-profile/2", "schema"},
           {"/prefill/0/patterns/1/speed_up", 2.0, "prefill[0].patterns[1].speed_up"},
           {"/prefill/1/limit", 1.0, "prefill[1].limit"},
           {"/prefill/1/context", 8192, "prefill[1]"},
           {"/prefill/0/patterns/0/seconds", 0, "prefill[0].patterns[0].seconds"},
           {"/prefill/0/patterns/0/parts/0/seconds", -1, "parts[0].seconds"},
           {"/prefill/0/patterns/1/pattern", "FFFFFS", "prefill[0].patterns[1].pattern"},
           {"/patterns/1/full_layers", 3, "patterns[1].full_layers"},
           {"/patterns/1/pattern", "FS", "patterns[1].pattern"},
           {"/traffic/sha256", "x", "traffic.sha256"},
           {"/decode", nullptr, "decode"},
       }) {
    Json document = to_json(example_profile());
    document[Json::json_pointer(c.pointer)] = c.value;
    INFO(c.pointer);
    CHECK_THAT(refusal_of([&] { profile_from_json(document, "p.json"); }),
               Contains("p.json") && Contains(c.key));
  }
}
