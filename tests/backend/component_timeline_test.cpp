// SPDX-License-Identifier: Apache-2.0
// Time by component: every moment belongs to one operation, or to none.
#include "backend/component_timeline.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/without_stamps.h"
#include "support/catch.h"
#include "support/random.h"

#include <numeric>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A second passes whenever somebody looks.
struct CountingClock {
  using Stamp = int;

  void start() { now = 0; }
  void prepare(std::size_t stamps) { prepared = stamps; }
  Stamp stamp() noexcept {
    --prepared;
    return now++;
  }
  void wait() {}
  double seconds(Stamp from, Stamp to) { return to - from; }

  int now = 0;
  std::size_t prepared = 0;
};

using Timeline = ComponentTimeline<CountingClock>;

double of(const ComponentSeconds& seconds, Component component) {
  return seconds[static_cast<std::size_t>(component)];
}

double sum(const ComponentSeconds& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

}  // namespace

TEST_CASE("time belongs to the innermost operation, or to the gaps") {
  Timeline timeline;
  { const Timeline::Scope ignored(timeline, Component::loss); }
  CHECK(sum(timeline.take().seconds) == 0);
  timeline.start();  // 0
  {
    const Timeline::Scope outer(timeline, Component::experts);          // 1
    { const Timeline::Scope inner(timeline, Component::projections); }  // 2, 3
  }                                                                     // 4
  {
    Timeline::Scope chosen(timeline, Component::indexer_logits);  // 5
    chosen.give(Component::top_k, 0.25);
  }                                                  // 6
  const ComponentProfile profile = timeline.take();  // 7
  const ComponentSeconds& seconds = profile.seconds;
  CHECK(of(seconds, Component::gaps) == 3);  // 0-1, 4-5, 6-7
  CHECK(of(seconds, Component::experts) == 2);
  CHECK(of(seconds, Component::projections) == 1);
  CHECK(of(seconds, Component::indexer_logits) == 0.75);
  CHECK(of(seconds, Component::top_k) == 0.25);
  CHECK(sum(seconds) == 7);
  CHECK(of(profile.pieces, Component::gaps) == 3);
  CHECK(of(profile.pieces, Component::experts) == 2);
  CHECK(of(profile.pieces, Component::top_k) == 0.25);
  CHECK(sum(profile.pieces) == 7);
}

TEST_CASE("what stamps added is taken off in equal amounts, and the rest is the whole") {
  ComponentProfile profile;
  const auto set = [&](Component component, double seconds, double pieces) {
    profile.seconds[static_cast<std::size_t>(component)] = seconds;
    profile.pieces[static_cast<std::size_t>(component)] = pieces;
  };
  set(Component::experts, 10, 1);
  set(Component::norms, 6, 4);
  set(Component::gaps, 2, 1);
  const ComponentSeconds exact = without_stamps(profile, 12);  // a stamp took 1
  CHECK(of(exact, Component::experts) == 9);
  CHECK(of(exact, Component::norms) == 2);
  CHECK(of(exact, Component::gaps) == 1);

  // One of 1.5 would leave nothing of the norms: 1.35, and the rest in proportion.
  const ComponentSeconds capped = without_stamps(profile, 9);
  CHECK(sum(capped) == Approx(9));
  CHECK(of(capped, Component::experts) == Approx(8.65 * 9 / 9.9));
  CHECK(of(capped, Component::norms) == Approx(0.6 * 9 / 9.9));
  CHECK(of(capped, Component::gaps) == Approx(0.65 * 9 / 9.9));

  CHECK(without_stamps(profile, 18.5) == profile.seconds);  // noise
  CHECK(without_stamps(profile, -0.5) == profile.seconds);
}

TEST_CASE("operations of the CPU count as what they do, or as what their caller says") {
  CpuBackend cpu(1);
  constexpr std::int64_t kRows = 96, kWidth = 64, kHeads = 4, kKeep = 16;
  RowLayout rows, keys;
  rows.append(kRows, kKeep);
  keys.append(kRows + kKeep, 0);
  const auto random = [&](std::int64_t r, std::int64_t c, std::uint32_t seed) {
    return cpu.upload(random_floats(static_cast<std::size_t>(r * c), seed), r, c);
  };
  const Tensor queries = random(kRows, kHeads * kWidth, 1), weights = random(kRows, kHeads, 2);
  const Tensor key_rows = random(keys.total, kWidth, 3), matrix = random(kWidth, kWidth, 4);
  const Tensor sets = cpu.allocate(kRows, kKeep, DType::i32),
               out = cpu.allocate(keys.total, kWidth);
  cpu.start_profile();
  cpu.index_topk(rows, queries, weights, keys, key_rows, sets);
  cpu.linear(keys, key_rows, matrix, out, Store::assign);
  {
    const Device::CountAs purpose(cpu, Component::indexer_projections);
    cpu.linear(keys, key_rows, matrix, out, Store::assign);
  }
  cpu.copy_rows(keys, key_rows, keys, out);
  const ComponentSeconds seconds = cpu.take_profile().seconds;
  for (const Component counted :
       {Component::indexer_logits, Component::top_k, Component::projections,
        Component::indexer_projections, Component::key_writes, Component::gaps}) {
    INFO(kComponentNames[static_cast<std::size_t>(counted)]);
    CHECK(of(seconds, counted) > 0);
  }
  for (const Component other : {Component::loss, Component::norms, Component::experts}) {
    CHECK(of(seconds, other) == 0);
  }
  cpu.linear(keys, key_rows, matrix, out, Store::assign);
  CHECK(sum(cpu.take_profile().seconds) == 0);  // nobody asked
}
