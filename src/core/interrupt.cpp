// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <initializer_list>

namespace indexcache {
namespace {

// Read by the threads of all devices.
std::atomic<int> noted_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "signal handlers may use it");

// Launchers send a signal to the process and to its group (timeout, srun), so that it comes twice.
constexpr std::int64_t kSameMilliseconds = 500;

std::atomic<std::int64_t> noted_at{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "signal handlers may use it");

// clock_gettime is safe in signal handlers.
std::int64_t milliseconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void note_signal(int signal) {
  const std::int64_t now = milliseconds_now();
  if (noted_signal == 0) {
    noted_at = now;
    noted_signal = signal;
  } else if (now - noted_at >= kSameMilliseconds) {
    std::signal(signal, SIG_DFL);
    raise(signal);
  }
}

}  // namespace

void install_interrupt_handlers() {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) {
    // What the caller ignores stays ignored: nohup, and jobs in the background of a script.
    if (std::signal(signal, note_signal) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

void check_interrupt() {
  if (noted_signal != 0) throw Interrupted(noted_signal);
}

}  // namespace indexcache
