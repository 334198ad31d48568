// SPDX-License-Identifier: Apache-2.0
// The processes of a job that mpirun or srun started together (docs/scaling.md).
//
// Rank 0 runs the command as a single process does: it owns the folder, the journal and all
// outputs. The others open the same model and data, wait for tasks, and compute them. A process
// that was started by itself has no other ranks, and everything here does nothing.
#pragma once

#include "core/fingerprint.h"
#include "ranks/messages.h"
#include "ranks/post_office.h"
#include "search/sweep_worker.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

// A device of another rank.
struct RemoteDevice {
  int rank;
  int device;        // of its rank
  std::string name;  // "rank 2 GPU 0"
};

// Makes, or finds, what computes tasks of a goal on one of this rank's devices. Called by one
// thread per device.
using WorkerOf = std::function<SweepWorker&(std::size_t device, const RankGoal& goal)>;

class Ranks {
 public:
  // Joins the ranks that were started together.
  Ranks();
  // Over other means than MPI, for tests. Nothing ends this process when a rank is lost.
  explicit Ranks(std::unique_ptr<Communicator> communicator);
  ~Ranks();

  int rank() const { return post_ ? post_->rank() : 0; }
  int size() const { return post_ ? post_->size() : 1; }
  bool computes_for_others() const { return rank() > 0; }

  // Rank 0: waits for the others and checks that they would compute the same, if `mixed` except for
  // the kind of their devices; `weights` says where weights wait (Placement). Throws InputError
  // naming the rank and the first field that differs, what a rank failed with, and ResourceError if
  // one is lost.
  void admit(const Fingerprint& fingerprint, const std::string& weights, bool mixed = false);
  // The devices of the ranks that were admitted.
  const std::vector<RemoteDevice>& devices() const { return devices_; }
  // What their fingerprints say of them, by rank.
  const std::vector<std::string>& kinds() const { return kinds_; }
  // Computes on one of them; the ranks must outlive it.
  std::unique_ptr<SweepWorker> worker(const RemoteDevice& device, const RankGoal& goal);

  // Other ranks: introduces this one, and returns where rank 0 keeps its weights. Throws
  // RankDismissed if the job ends instead.
  std::string introduce(const Fingerprint& fingerprint, const std::vector<std::string>& devices);
  // Computes tasks until rank 0 ends the job. Returns the exit code.
  int serve(std::size_t devices, const WorkerOf& worker_of);

  // The end of this process's part, with its exit code; on rank 0 that of the job. To be called
  // once, whatever happened.
  void leave(int code);
  // What really happened if `failure` is the consequence of a lost rank (a launcher ends the ranks
  // that are left by a signal): its error; else `failure`.
  std::exception_ptr cause_of(std::exception_ptr failure);
  // A rank that failed by itself: tells rank 0, and waits until the job ends. Whether rank 0 knows.
  bool fail(const std::exception_ptr& failure);

 private:
  void serve_device(std::size_t device, const WorkerOf& worker_of, std::stop_token stop);
  void check_same(int rank, const Hello& hello, const Fingerprint& fingerprint, bool mixed) const;

  std::unique_ptr<PostOffice> post_;
  std::vector<RankPlace> places_;
  std::vector<RemoteDevice> devices_;
  std::vector<std::string> kinds_;
};

// Thrown on a rank that waits for work when the job is over.
struct RankDismissed {
  int code;
};

}  // namespace indexcache
