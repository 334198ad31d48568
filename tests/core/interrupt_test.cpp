// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include "support/catch.h"

#include <chrono>
#include <csignal>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace indexcache;

namespace {

// A process with the handlers that does nothing but wait for signals.
pid_t start_waiting() {
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    install_interrupt_handlers();
    static_cast<void>(write(ready[1], "r", 1) == 1);
    for (;;) pause();
  }
  char letter = 0;
  REQUIRE(read(ready[0], &letter, 1) == 1);
  close(ready[0]);
  close(ready[1]);
  return child;
}

bool ended(pid_t child, int options) {
  int status = 0;
  if (waitpid(child, &status, options) != child) return false;
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGINT);
  return true;
}

}  // namespace

TEST_CASE("a signal that comes twice at once is one, and a later one ends the process") {
  const pid_t child = start_waiting();
  REQUIRE(child > 0);
  for (int i = 0; i < 3; ++i) {
    kill(child, SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  CHECK_FALSE(ended(child, WNOHANG));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  kill(child, SIGINT);
  CHECK(ended(child, 0));
}
