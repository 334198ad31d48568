// SPDX-License-Identifier: Apache-2.0
// The sections of a page about segments.
#pragma once

#include "present/segments_report.h"
#include "result/result.h"

#include <string>

namespace indexcache {

// Which layers may an F layer feed, and at what cost?
std::string triangle_html(const Result& result, const SegmentsReport& segments);

// What would other sizes and constraints cost? Empty if no size is known.
std::string sizes_html(const Result& result, const SegmentsReport& segments);

// Do the losses of segments add up? Empty if no measured pattern can be predicted.
std::string predictions_html(const SegmentsReport& segments);

}  // namespace indexcache
