// SPDX-License-Identifier: Apache-2.0
#include "present/html.h"

#include "present/assets.h"
#include "present/escape.h"

#include <fmt/format.h>

namespace indexcache {

std::string html_document(const std::string& title, const std::string& body_html) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{}</title>\n<style>{}{}{}</style>\n</head>\n<body>\n<main>\n{}</main>\n"
      "<script>{}</script>\n</body>\n</html>\n",
      escape_markup(title), kColors, kChartStyle, kPageStyle, body_html, kScript);
}

std::string html_table(const std::vector<std::vector<std::string>>& rows, const std::string& id) {
  std::string text =
      "<div class=\"wide\">" + (id.empty() ? std::string("<table>\n")
                                           : fmt::format("<table id=\"{}\">\n", escape_markup(id)));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    text += r == 0 ? "<thead><tr>" : r == 1 ? "<tbody><tr>" : "<tr>";
    for (const std::string& cell : rows[r]) {
      const char* tag = r == 0 ? "th" : "td";
      text += fmt::format("<{0}>{1}</{0}>", tag, escape_markup(cell));
    }
    text += r == 0 ? "</tr></thead>\n" : "</tr>\n";
  }
  return text + (rows.size() > 1 ? "</tbody></table></div>\n" : "</table></div>\n");
}

std::string html_details(const std::string& summary, const std::string& content_html) {
  return fmt::format("<details><summary>{}</summary>{}</details>\n", escape_markup(summary),
                     content_html);
}

std::string html_section(const std::string& title, const std::string& caption,
                         const std::string& content_html, const std::string& attributes) {
  return fmt::format(
      "<section{}{}>\n<h2>{}</h2>\n<figure>\n<figcaption>{}</figcaption>\n{}"
      "</figure>\n</section>\n",
      attributes.empty() ? "" : " ", attributes, escape_markup(title), escape_markup(caption),
      content_html);
}

std::string html_copy(const std::string& label, const std::string& text) {
  return fmt::format(
      "<p class=\"muted\">{}</p>\n<div class=\"copy\"><pre>{}</pre>"
      "<button type=\"button\">copy</button></div>\n",
      escape_markup(label), escape_markup(text));
}

std::string html_fact(const std::string& value, const std::string& label) {
  return fmt::format("<div><b>{}</b>{}</div>\n", escape_markup(value), escape_markup(label));
}

std::string html_warnings(const std::vector<std::string>& warnings) {
  std::string text;
  for (const std::string& warning : warnings) {
    text += fmt::format("<p class=\"warning\">{}</p>\n", escape_markup(warning));
  }
  return text;
}

std::string html_facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string text = "<dl>\n";
  for (const auto& [name, value] : facts) {
    text += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_markup(name), escape_markup(value));
  }
  return text + "</dl>\n";
}

}  // namespace indexcache
