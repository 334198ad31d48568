// SPDX-License-Identifier: Apache-2.0
// The charts of a profile with at least one prefill.
#pragma once

#include "present/svg.h"
#include "profile/profile.h"

#include <string>
#include <vector>

namespace indexcache {

// Parts of a pass that a chart can tell apart; every part of a profile belongs to one of them.
struct PartGroup {
  std::string name;
  std::string css;
  std::vector<std::string> parts;  // empty: what belongs to no other group
};
const std::vector<PartGroup>& part_groups();

// Share of a group in [0, 1] of a pass.
double group_share(const PatternTime& time, const PartGroup& group);

// Where does the time of a prefill go? A bar for each context, with every indexer.
Svg part_shares(const Profile& profile);

// How much faster is a prefill? A line for each pattern, and Amdahl's limit.
Svg speed_up_lines(const Profile& profile);

}  // namespace indexcache
