// SPDX-License-Identifier: Apache-2.0
// Text in the formats that results are presented in: names of models and files may be anything, and
// nothing of them may be taken for markup.
#pragma once

#include <string>
#include <string_view>

namespace indexcache {

// Valid UTF-8 without characters that XML 1.0 forbids and terminals obey: they become U+FFFD.
std::string clean_text(std::string_view text);

// For HTML and XML, in elements and in quoted attributes.
std::string escape_markup(std::string_view text);

// For XML in which line breaks and tabs of attributes have to survive.
std::string escape_attribute(std::string_view text);

// For Markdown, in running text and in table cells: one line.
std::string escape_markdown(std::string_view text);

// For GitHub workflow commands, as the runner reads them: % first, then CR and LF, in properties
// also : and ,.
std::string escape_command(std::string_view text);
std::string escape_command_property(std::string_view text);

}  // namespace indexcache
