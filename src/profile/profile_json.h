// SPDX-License-Identifier: Apache-2.0
// profile.json: its only writer and its only reader.
#pragma once

#include "io/json.h"
#include "profile/profile.h"

#include <filesystem>
#include <string>

namespace indexcache {

inline constexpr const char* kProfileFile = "profile.json";

Json to_json(const Profile& profile);

// What to_json wrote. Throws InputError naming `where` and the key.
Profile profile_from_json(const Json& document, const std::string& where);
Profile read_profile(const std::filesystem::path& path);

}  // namespace indexcache
