// SPDX-License-Identifier: Apache-2.0
// Reports of a run: one HTML file that needs nothing else, its charts, Markdown, and the numbers.
#pragma once

#include "io/json.h"
#include "present/report.h"
#include "present/svg.h"

#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// report.html: opens offline, without external resources, in light and dark, on paper and on a
// phone. The same run gives the same bytes.
std::string report_html(const Report& report);

// A summary for a pull request.
std::string report_markdown(const Report& report);

// The numbers behind the charts.
Json report_json(const Report& report);

// Every chart by the name of its file.
std::vector<std::pair<std::string, Svg>> report_charts(const Report& report);

// Several runs side by side: patterns, curves, how far the orders of removal agree.
std::string compare_html(const std::vector<Report>& runs);

}  // namespace indexcache
