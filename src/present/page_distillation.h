// SPDX-License-Identifier: Apache-2.0
// Reports of a distillation: a page that needs nothing else, its charts, and Markdown.
#pragma once

#include "present/svg.h"
#include "result/distillation.h"

#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// report.html beside distill.json. The same distillation gives the same bytes.
std::string distillation_page(const Distillation& distillation);

// A summary for a pull request.
std::string distillation_markdown(const Distillation& distillation);

// Every chart by the name of its file.
std::vector<std::pair<std::string, Svg>> distillation_charts(const Distillation& distillation);

}  // namespace indexcache
