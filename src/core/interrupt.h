// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM and SIGHUP end a run between two layers: what the journal holds stays, nothing is
// torn.
#pragma once

#include <exception>

namespace indexcache {

class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal) : signal_(signal) {}
  int signal() const { return signal_; }
  const char* what() const noexcept override { return "interrupted"; }

 private:
  int signal_;
};

// The first signal is noted. Another one ends the process at once, unless it comes within half a
// second: launchers send a signal to the process and to its group.
void install_interrupt_handlers();

// Throws Interrupted once a signal was noted. Cheap: one load.
void check_interrupt();

}  // namespace indexcache
