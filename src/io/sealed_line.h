// SPDX-License-Identifier: Apache-2.0
// JSON objects, one a line, each with a checksum of itself as its last member:
//   {"a":1,"crc32":"89abcdef"}
// A line that a crash, a full disk or an editor changed is noticed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

// `object` is the text of a JSON object with at least one member. No newline is added.
std::string seal_line(std::string_view object);

// The object as it was before sealing; nullopt where the checksum is missing or another.
std::optional<std::string> unseal_line(std::string_view line);

}  // namespace indexcache
