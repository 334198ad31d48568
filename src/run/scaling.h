// SPDX-License-Identifier: Apache-2.0
// What a run takes on several devices: its requests, dealt by the scheduler itself
// (search/sweep_cut.h), with the costs of its plan.
#pragma once

#include "io/json.h"
#include "model/model.h"
#include "run/subject.h"
#include "search/costs.h"
#include "search/workload.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

struct RunPlan;

struct ScaledTime {
  std::size_t devices = 1;
  double seconds = 0;
  double idle_share = 0;        // of the devices' time while requests are computed
  std::int64_t link_bytes = 0;  // of weights, over the links of all devices
};

struct Scaling {
  std::vector<ScaledTime> times;
  double fixed_seconds = 0;  // of all times: starting, and reading the weights once
  std::size_t ends_at = 1;   // devices; more of those that were asked for gain less than a tenth
  std::string limit;         // why
};

// For each number of devices, ascending. `backend` is one of them, as the plan was made for.
Scaling scale_run(const RunPlan& plan, const Model& model, const SearchSubject& subject,
                  const Device& backend, std::span<const std::size_t> devices);

Json to_json(const Scaling& scaling);

}  // namespace indexcache
