// SPDX-License-Identifier: Apache-2.0
#include "core/interrupt.h"

#include <csignal>

namespace indexcache {
namespace {

volatile std::sig_atomic_t noted_signal = 0;

void note_signal(int signal) {
  noted_signal = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void install_interrupt_handlers() {
  std::signal(SIGINT, note_signal);
  std::signal(SIGTERM, note_signal);
}

void check_interrupt() {
  if (noted_signal != 0) throw Interrupted(noted_signal);
}

}  // namespace indexcache
