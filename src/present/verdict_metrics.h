// SPDX-License-Identifier: Apache-2.0
// A verdict as metrics: the text format that Prometheus and the textfile collector of node_exporter
// read (OpenMetrics 1.0, gauges only), so that an alarm can watch what a gate looks at.
#pragma once

#include "gate/verdict.h"
#include "profile/profile.h"
#include "result/drift.h"

#include <string>

namespace indexcache {

// Every measurement has the labels `model` and `pattern`; `drift` and `profile`, which may be null,
// are those of the verdict. Equal inputs give equal bytes. Names and meanings: docs/ci.md.
std::string verdict_metrics(const Verdict& verdict, const Drift* drift, const Profile* profile);

}  // namespace indexcache
