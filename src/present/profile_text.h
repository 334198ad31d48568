// SPDX-License-Identifier: Apache-2.0
// A profile in the terminal, and the words that its charts and pages share.
#pragma once

#include "profile/profile.h"

#include <cstddef>
#include <string>

namespace indexcache {

// Tables of what `profile` measured: parts by context, patterns, and requests of given lengths.
std::string profile_text(const Profile& profile);

// "1.234", "12.34", "123.4" or "1234".
std::string milliseconds_text(double seconds);

// Where and how: "DeepSeek-V3.2, cuda NVIDIA H200 …: prefills of one sequence, median of 3".
std::string measured_text(const Profile& profile);

// What a table of requests says of itself.
std::string traffic_note(const Traffic& traffic);

}  // namespace indexcache
