// SPDX-License-Identifier: Apache-2.0
// Style sheets and the script of the report, as they stand in every page.
#pragma once

namespace indexcache {

// Colors of light and dark pages. Text keeps a contrast of 4.5:1 on both papers; data is told
// apart by shape and dash as well as by color (hues of Okabe and Ito).
extern const char* const kColors;

// Classes that the charts use.
extern const char* const kChartStyle;

// Layout of the page.
extern const char* const kPageStyle;

// Copy buttons, the choice of a target, values of the heatmap under the pointer. The page is
// complete without it: it shows the smallest target.
extern const char* const kScript;

}  // namespace indexcache
