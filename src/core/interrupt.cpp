// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include <atomic>
#include <csignal>
#include <initializer_list>

namespace indexcache {
namespace {

// Read by the threads of all devices.
std::atomic<int> noted_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "signal handlers may use it");

void note_signal(int signal) {
  noted_signal = signal;
  std::signal(signal, SIG_DFL);
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
