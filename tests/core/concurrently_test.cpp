// SPDX-License-Identifier: Apache-2.0
#include "core/concurrently.h"

#include "core/error.h"
#include "support/catch.h"

#include <latch>
#include <thread>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("all calls are made at the same time, a single one on the calling thread") {
  std::latch all(3);
  std::vector<int> called(3, 0);
  concurrently(3, [&](std::size_t i) {
    ++called[i];
    all.arrive_and_wait();
  });
  CHECK(called == std::vector<int>{1, 1, 1});

  std::thread::id thread;
  concurrently(1, [&](std::size_t) { thread = std::this_thread::get_id(); });
  CHECK(thread == std::this_thread::get_id());
}

TEST_CASE(
    "of several failures the one of the lowest number is thrown, after all calls have ended") {
  std::latch failed(1);
  bool ended = false;
  const auto call = [&](std::size_t i) {
    if (i == 2) {
      failed.count_down();
      throw ResourceError({"call 2", "", "", ""});
    }
    failed.wait();
    if (i == 1) throw InputError({"call 1", "", "", ""});
    ended = true;
  };
  CHECK_THROWS_AS(concurrently(3, call), InputError);
  CHECK(ended);
}
