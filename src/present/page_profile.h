// SPDX-License-Identifier: Apache-2.0
// What a page says of a profile.
#pragma once

#include "profile/profile.h"

#include <string>

namespace indexcache {

// Sections: parts by context, speed-ups by context, and times of requests; empty without a prefill.
std::string profile_html(const Profile& profile);

}  // namespace indexcache
