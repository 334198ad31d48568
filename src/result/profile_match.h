// SPDX-License-Identifier: Apache-2.0
// Whether a profile is of the model of a result.
#pragma once

#include "profile/profile.h"
#include "result/result.h"

namespace indexcache {

// Throws InputError naming the profile's file for another number of layers or owners of indexers,
// another shape of indexers, or another config.json. Random weights of the same shape will do, and
// so will another device: the profile says which.
void check_profile(const Profile& profile, const ModelSummary& model);

}  // namespace indexcache
