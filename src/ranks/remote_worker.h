// SPDX-License-Identifier: Apache-2.0
// A device of another rank as a worker.
#pragma once

#include "ranks/post_office.h"
#include "ranks/ranks.h"
#include "search/sweep_worker.h"

namespace indexcache {

class RemoteWorker : public SweepWorker {
 public:
  // `post` must outlive the worker. `place` names the rank in errors.
  RemoteWorker(PostOffice& post, RemoteDevice device, std::string place, RankGoal goal);

  std::string name() const override { return device_.name; }
  SweepOutput compute(const SweepTask& task, const SweepReports& reports) override;

 private:
  SweepOutput await(const SweepReports& reports);
  void stop() noexcept;

  PostOffice& post_;
  RemoteDevice device_;
  std::string place_;
  RankGoal goal_;
};

}  // namespace indexcache
