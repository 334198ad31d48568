// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

namespace indexcache {

// The words of `text` in lines of at most `columns` columns, which all begin at column `indent`:
// the caller has written what comes before the first one. A longer word has a line of its own.
std::string word_wrap(const std::string& text, std::size_t indent, std::size_t columns);

}  // namespace indexcache
