// SPDX-License-Identifier: Apache-2.0
// Text that is part of a command to paste.
#pragma once

#include <string>
#include <string_view>

namespace indexcache {

// The same text if a shell reads it as one word, and in single quotes otherwise.
std::string shell_quoted(std::string_view text);

}  // namespace indexcache
