// SPDX-License-Identifier: Apache-2.0
// A device of this process as a worker.
#pragma once

#include "search/sweep_worker.h"

#include <memory>
#include <string>

namespace indexcache {

class DeviceWorker : public SweepWorker {
 public:
  // `evaluator` sweeps on `backend`, which must outlive the worker, with weights or indexers that
  // are kept as long as the worker.
  DeviceWorker(std::string name, Backend& backend, SweepEvaluator evaluator,
               std::shared_ptr<const void> kept = nullptr);

  std::string name() const override { return name_; }
  SweepOutput compute(const SweepTask& task, const SweepReports& reports) override;
  void prepare(const std::function<bool()>& stopped) override { evaluator_.load_weights(stopped); }

 private:
  std::string name_;
  Backend& backend_;
  std::shared_ptr<const void> kept_;
  SweepEvaluator evaluator_;
};

}  // namespace indexcache
