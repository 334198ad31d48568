// SPDX-License-Identifier: Apache-2.0
#include "present/svg.h"

#include "present/assets.h"
#include "present/escape.h"

#include <fmt/format.h>

#include <cmath>

namespace indexcache {
namespace {

// At most one decimal, "-0" and trailing zeros left out.
std::string coordinate(double value) {
  const double rounded = std::round(value * 10) / 10;
  return fmt::format("{}", rounded == 0 ? 0.0 : rounded);
}

std::string points_text(const std::vector<std::pair<double, double>>& points) {
  std::string text;
  for (const auto& [x, y] : points) {
    text += fmt::format("{}{},{}", text.empty() ? "" : " ", coordinate(x), coordinate(y));
  }
  return text;
}

const char* anchor_text(Anchor anchor) {
  switch (anchor) {
    case Anchor::middle:
      return " text-anchor=\"middle\"";
    case Anchor::end:
      return " text-anchor=\"end\"";
    case Anchor::start:
      break;
  }
  return "";
}

// Ends an element, with what a pointer that rests on it is told.
std::string with_hint(std::string_view name, std::string_view hint) {
  if (hint.empty()) return "/>";
  return fmt::format("><title>{}</title></{}>", escape_markup(hint), name);
}

}  // namespace

Svg::Svg(double width, double height, const std::string& title)
    : width_(width), height_(height), title_(title) {}

void Svg::rect(double x, double y, double width, double height, std::string_view css,
               std::string_view hint) {
  body_ += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}\n", css,
                       coordinate(x), coordinate(y), coordinate(width), coordinate(height),
                       with_hint("rect", hint));
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css) {
  body_ += fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", css,
                       coordinate(x1), coordinate(y1), coordinate(x2), coordinate(y2));
}

void Svg::circle(double x, double y, double radius, std::string_view css, std::string_view hint) {
  body_ += fmt::format("<circle class=\"{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"{}\n", css, coordinate(x),
                       coordinate(y), coordinate(radius), with_hint("circle", hint));
}

void Svg::polyline(const std::vector<std::pair<double, double>>& points, std::string_view css) {
  body_ += fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", css, points_text(points));
}

void Svg::polygon(const std::vector<std::pair<double, double>>& points, std::string_view css) {
  body_ += fmt::format("<polygon class=\"{}\" points=\"{}\"/>\n", css, points_text(points));
}

void Svg::text(double x, double y, std::string_view text, std::string_view css, Anchor anchor) {
  body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\"{}>{}</text>\n", css, coordinate(x),
                       coordinate(y), anchor_text(anchor), escape_markup(text));
}

void Svg::text_upwards(double x, double y, std::string_view text, std::string_view css) {
  body_ += fmt::format(
      "<text class=\"{}\" transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">{}"
      "</text>\n",
      css, coordinate(x), coordinate(y), escape_markup(text));
}

void Svg::grid(double x, double y, double width, double height, const CellGrid& cells) {
  body_ += fmt::format(
      "<g class=\"cells\" shape-rendering=\"crispEdges\" transform=\"translate({} {}) scale({:.5g} "
      "{:.5g})\">\n",
      coordinate(x), coordinate(y), width, height);
  for (const auto& [color, places] : cells.by_color()) {
    body_ += fmt::format("<path fill=\"#{:02x}{:02x}{:02x}\" d=\"", color[0], color[1], color[2]);
    for (const auto& [row, column] : places) body_ += fmt::format("M{} {}h1v1h-1z", column, row);
    body_ += "\"/>\n";
  }
  body_ += "</g>\n";
}

void Svg::begin_group(std::string_view css, std::string_view attributes) {
  body_ += fmt::format("<g class=\"{}\"{}{}>\n", css, attributes.empty() ? "" : " ", attributes);
}

void Svg::end_group() {
  body_ += "</g>\n";
}

std::string Svg::element(std::string_view extra) const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-label=\"{}\">\n<title>{}</title>\n{}{}</svg>\n",
      coordinate(width_), coordinate(height_), escape_markup(title_), escape_markup(title_), extra,
      body_);
}

std::string Svg::inline_text() const {
  return element("");
}

std::string Svg::document() const {
  const std::string style =
      fmt::format("<style>{}{}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
                  kColors, kChartStyle);
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + element(style);
}

}  // namespace indexcache
