// SPDX-License-Identifier: Apache-2.0
// Messages between the processes ("ranks") of one job. MPI is one implementation (mpi/); a build
// without it has the same function, which finds no other ranks (no_mpi/).
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace indexcache {

struct Letter {
  int from;
  std::string bytes;
};

// One thread at a time calls an object.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;  // 0 … size() - 1
  virtual int size() const = 0;

  // Never waits for the receiver. Letters from one rank to another arrive in their order.
  virtual void send(int to, std::string bytes) = 0;
  // The next letter of any rank that has arrived; nullopt if there is none.
  virtual std::optional<Letter> receive() = 0;
  // Whether every letter is on its way, so that this process may end.
  virtual bool all_sent() = 0;
  // The end of a job in which nothing failed; waits for all ranks.
  virtual void finish() = 0;
};

// The ranks that a launcher (mpirun, srun) started together with this process; null if it started
// this one by itself. Call it once.
std::unique_ptr<Communicator> join_communicator();

// "Open MPI 4.1.4", or "none", for --version.
std::string communicator_text();

}  // namespace indexcache
