// SPDX-License-Identifier: Apache-2.0
// Pieces of a page. Text goes through escape_markup here; `*_html` parameters are markup already.
#pragma once

#include "present/svg.h"

#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// A whole document: head with style, body with script. `title` is text.
std::string html_document(const std::string& title, const std::string& body_html);

// Rows of text; the first row is the head.
std::string html_table(const std::vector<std::vector<std::string>>& rows,
                       const std::string& id = "");

// A table that opens on a click, in a box of its own that scrolls where it is large.
std::string html_details(const std::string& summary, const std::string& content_html);

// Title, drawing, what it shows, and its numbers. `css` are further classes and attributes.
std::string html_section(const std::string& title, const std::string& caption,
                         const std::string& content_html, const std::string& attributes = "");

// Text with a button that copies it.
std::string html_copy(const std::string& label, const std::string& text);

// A number of the first screen, in large type, and what it is.
std::string html_fact(const std::string& value, const std::string& label);

// One paragraph for each.
std::string html_warnings(const std::vector<std::string>& warnings);

// Definition list of texts.
std::string html_facts(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace indexcache
