// SPDX-License-Identifier: Apache-2.0
#include "present/raster.h"

#include "present/assets.h"
#include "present/style_sheet.h"
#include "support/catch.h"

#include <fmt/format.h>

#include <regex>
#include <stdexcept>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr const char* kVariables =
    "/* light */:root{--ink:#102030;--soft:#abc;\n--line:var(--ink)}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#fff}}";
constexpr const char* kRules =
    "svg{font-family:sans}\n"
    "svg text{font-size:12px;fill:var(--ink)}\n"
    "svg .soft{fill:var(--soft)}\n"
    "svg .outline{fill:none;stroke:var(--line);stroke-width:1.5}\n"
    "svg .large{font-size:15px}\n"
    "svg .broken{fill:rebeccapurple}";

Rgb pixel(const Image& image, std::size_t x, std::size_t y) {
  const std::uint8_t* p = image.row(y) + 3 * x;
  return {p[0], p[1], p[2]};
}

// The rows of an image of two colors: '#' is not `background`.
std::vector<std::string> rows(const Image& image, Rgb background) {
  std::vector<std::string> text(image.height());
  for (std::size_t y = 0; y < image.height(); ++y) {
    for (std::size_t x = 0; x < image.width(); ++x) {
      text[y] += pixel(image, x, y) == background ? '.' : '#';
    }
  }
  return text;
}

constexpr Rgb kPaper = {255, 255, 255};

}  // namespace

TEST_CASE("a style sheet gives the light theme's colors, later classes winning") {
  const StyleSheet sheet(kVariables, kRules);
  CHECK(sheet.of("text", "").fill == Rgb{0x10, 0x20, 0x30});
  CHECK(sheet.of("text", "").font_size == 12);
  CHECK(sheet.of("text", "soft large").fill == Rgb{0xaa, 0xbb, 0xcc});
  CHECK(sheet.of("text", "soft large").font_size == 15);
  CHECK(sheet.of("rect", "outline").fill == std::nullopt);
  CHECK(sheet.of("rect", "outline").stroke == Rgb{0x10, 0x20, 0x30});
  CHECK(sheet.of("rect", "outline").stroke_width == 1.5);
  CHECK(sheet.of("rect", "soft").stroke == std::nullopt);
}

TEST_CASE("a class without a rule and a color of another notation are bugs, not black") {
  const StyleSheet sheet(kVariables, kRules);
  CHECK_THROWS_AS(sheet.of("rect", "sfot"), std::logic_error);
  CHECK_THROWS_AS(sheet.of("rect", "broken"), std::logic_error);
  CHECK_THROWS_AS(StyleSheet("", kRules), std::logic_error);
  CHECK_THROWS_AS(StyleSheet(kVariables, "svg .a{fill:none"), std::logic_error);
}

TEST_CASE("every class of charts.css can be drawn as pixels") {
  const std::string rules(kChartStyle);
  const std::regex selector("svg \\.([a-z-]+)\\{");
  std::size_t classes = 0;
  for (std::sregex_iterator it(rules.begin(), rules.end(), selector), end; it != end; ++it) {
    INFO((*it)[1]);
    CHECK_NOTHROW(chart_style_sheet().of("rect", std::string((*it)[1])));
    ++classes;
  }
  CHECK(classes >= 25);
}

TEST_CASE("the embedded files lost their license line and nothing else") {
  CHECK(kColors.substr(0, 7) == "\n:root{");
  CHECK(kScript.substr(0, 14) == "\n(function(){\n");
  CHECK(kScript.substr(kScript.size() - 6) == "})();\n");
  CHECK(kPageStyle.substr(kPageStyle.size() - 16) == "\ndisplay:none}}\n");
  for (const auto text : {kColors, kChartStyle, kPageStyle, kScript}) {
    CHECK(text.find("SPDX") == std::string_view::npos);
  }
}

TEST_CASE("a stroke lies half inside and half outside of its rectangle") {
  Raster raster(6, 5, 2);
  raster.rect(1, 1, 4, 3, "block");  // 2 units: four pixels
  CHECK(rows(raster.image(), kPaper) ==
        std::vector<std::string>{"############", "############", "############", "############",
                                 "####....####", "####....####", "############", "############",
                                 "############", "############"});
}

TEST_CASE("neighboring shapes leave no gap and do not overlap where edges are fractions") {
  Raster raster(5, 1, 1);
  CellGrid cells;
  const std::array<Rgb, 3> colors = {{{1, 0, 0}, {2, 0, 0}, {3, 0, 0}}};
  for (std::size_t i = 0; i < 3; ++i) cells.add(0, i, colors[i]);
  raster.grid(0, 0, 5.0 / 3, 1, cells);  // edges at 1.67 and 3.33
  std::vector<int> reds;
  for (std::size_t x = 0; x < 5; ++x) reds.push_back(pixel(raster.image(), x, 0)[0]);
  CHECK(reds == std::vector<int>{1, 1, 2, 3, 3});
}

TEST_CASE("lines of any direction reach both ends") {
  Raster raster(5, 4, 1);
  raster.line(0, 3, 4, 1, "grid");
  CHECK(rows(raster.image(), kPaper) ==
        std::vector<std::string>{".....", "....#", "..##.", "##..."});
  raster.line(0, 0, 4, 0, "grid");
  CHECK(rows(raster.image(), kPaper)[0] == "#####");
}

TEST_CASE("text is anchored at its start, middle and end, on its baseline") {
  const auto columns = [](Anchor anchor) {
    Raster raster(21, 10, 1);
    raster.text(10, 8, "1", "note", anchor);
    const auto text = rows(raster.image(), kPaper);
    CHECK(text[0] == std::string(21, '.'));
    CHECK(text[8] == std::string(21, '.'));
    return text[7];  // the foot of the digit, three pixels
  };
  CHECK(columns(Anchor::start) == "...........###.......");
  CHECK(columns(Anchor::middle) == ".........###.........");
  CHECK(columns(Anchor::end) == "......###............");
  Raster raster(10, 12, 1);
  raster.text_upwards(8, 6, "1", "note");
  const auto text = rows(raster.image(), kPaper);
  CHECK(text[0] == "..........");
  std::string foot;  // of the digit, now its right edge
  for (const std::string& row : text) foot += row[7];
  CHECK(foot == "....###.....");
}
