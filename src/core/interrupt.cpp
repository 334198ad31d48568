// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace indexcache {
namespace {

volatile std::sig_atomic_t noted_signal = 0;

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
