// SPDX-License-Identifier: Apache-2.0
// Style sheets and the script of the report: the files of present/assets/, embedded in the program
// by cmake/Embed.cmake, as they appear in every page.
#pragma once

#include <string_view>

namespace indexcache {

// Colors of light, dark and printed pages. Text keeps a contrast of 4.5:1 on each background; data
// is distinguished by shape and dash as well as by color (hues of Okabe and Ito).
extern const std::string_view kColors;

// Classes that the charts use.
extern const std::string_view kChartStyle;

// Layout of the page.
extern const std::string_view kPageStyle;

// Copy buttons, the choice of a target, values of the heatmap under the pointer. The page works
// without it and then shows the smallest target.
extern const std::string_view kScript;

}  // namespace indexcache
