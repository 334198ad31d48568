// SPDX-License-Identifier: Apache-2.0
// One constant for each file of this folder; families() in families.cpp lists them.
#pragma once

#include "model/family.h"

namespace indexcache {

extern const Family kAxk2;
extern const Family kDeepseekV32;
extern const Family kDeepseekV4;
extern const Family kGlmMoeDsa;
extern const Family kHyV4;

}  // namespace indexcache
