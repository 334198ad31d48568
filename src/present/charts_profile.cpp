// SPDX-License-Identifier: Apache-2.0
#include "present/charts_profile.h"

#include "core/count_text.h"
#include "core/quote.h"
#include "present/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace indexcache {
namespace {

constexpr double kProfileWidth = 480;
constexpr double kLegendRow = 18;
constexpr std::size_t kLegendColumns = 3;

// Contexts side by side, at equal distances.
struct Columns {
  Columns(const Plot& plot, const std::vector<ProfilePoint>& points)
      : width((plot.right - plot.left) / static_cast<double>(points.size())) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      centers.push_back(plot.left + (static_cast<double>(i) + 0.5) * width);
      labels.push_back(count_text(points[i].context));
    }
  }

  double width;
  std::vector<double> centers;
  std::vector<std::string> labels;
};

double legend_height(std::size_t entries) {
  const std::size_t rows = (entries + kLegendColumns - 1) / kLegendColumns;
  return kLegendRow * static_cast<double>(rows);
}

struct Place {
  double x, y;
};

Place legend_place(std::size_t entry) {
  const std::size_t row = entry / kLegendColumns, column = entry % kLegendColumns;
  return {12 + 158 * static_cast<double>(column), 18 + kLegendRow * static_cast<double>(row)};
}

// Lines of patterns take turns with these.
struct LineStyle {
  const char *line, *dot;
};
constexpr std::array<LineStyle, 4> kLineStyles = {LineStyle{"greedy", "greedy-dot"},
                                                  {"uniform", "uniform-dot"},
                                                  {"held", "held-dot"},
                                                  {"predicted", "predicted-dot"}};

void draw_line(Svg& svg, const std::vector<std::pair<double, double>>& points, const char* css) {
  if (points.size() > 1) svg.polyline(points, css);
}

}  // namespace

const std::vector<PartGroup>& part_groups() {
  static const std::vector<PartGroup> groups = {
      {"indexers",
       "part-indexers",
       {"indexer projections", "indexer logits", "top-k", "index key writes"}},
      {"sparse attention", "part-attention", {"sparse attention"}},
      {"projections", "part-projections", {"projections"}},
      {"MoE and MLP", "part-experts", {"MoE and MLP"}},
      {"norms and RoPE", "part-norms", {"norms and RoPE"}},
      {"other", "part-rest", {}}};
  return groups;
}

double group_share(const PatternTime& time, const PartGroup& group) {
  double seconds = 0;
  for (const std::string& part : group.parts) seconds += time.seconds_of(part);
  const double all = time.parts_seconds();
  if (all <= 0) return 0;
  if (!group.parts.empty()) return seconds / all;
  double others = 0;
  for (const PartGroup& other : part_groups()) {
    if (!other.parts.empty()) others += group_share(time, other);
  }
  return std::max(1 - others, 0.0);
}

Svg part_shares(const Profile& profile) {
  const std::vector<PartGroup>& groups = part_groups();
  const double legend = legend_height(groups.size());
  Svg svg(kProfileWidth, 284 + legend, "Shares of a prefill by its number of tokens");
  const Plot plot{62, 34 + legend, 462, 238 + legend};
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Place at = legend_place(g);
    svg.rect(at.x, at.y - 10, 12, 12, groups[g].css);
    svg.text(at.x + 18, at.y, groups[g].name, "note");
  }
  const Scale y(0, 100, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, "% of the time, with every indexer");
  const Columns columns(plot, profile.prefill);
  for (std::size_t i = 0; i < profile.prefill.size(); ++i) {
    double below = 0;
    for (const PartGroup& group : groups) {
      const double share = group_share(profile.prefill[i].times.front(), group);
      const double top = y.at(100 * (below + share));
      svg.rect(columns.centers[i] - columns.width * 0.36, top, columns.width * 0.72,
               y.at(100 * below) - top, group.css,
               fmt::format("{} tokens, {}: {:.1f}%", columns.labels[i], group.name, 100 * share));
      below += share;
    }
  }
  draw_category_axis(svg, plot, columns.centers, columns.labels, "tokens");
  return svg;
}

Svg speed_up_lines(const Profile& profile) {
  const std::size_t patterns = profile.patterns.size();
  const double legend = legend_height(patterns);
  Svg svg(kProfileWidth, 284 + legend, "Speed-up of a prefill by its number of tokens");
  const Plot plot{62, 34 + legend, 462, 238 + legend};
  double low = 1, high = 1.05;
  for (const ProfilePoint& point : profile.prefill) {
    high = std::max(high, point.limit());
    for (std::size_t p = 1; p < patterns; ++p) {
      low = std::min(low, point.speed_up(p));
      high = std::max(high, point.speed_up(p));
    }
  }
  const Scale y(low, high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, "times as fast as with every indexer");
  const Columns columns(plot, profile.prefill);
  std::vector<std::pair<double, double>> limits;
  for (std::size_t i = 0; i < columns.centers.size(); ++i) {
    limits.emplace_back(columns.centers[i], y.at(profile.prefill[i].limit()));
    svg.circle(limits.back().first, limits.back().second, 2.5, "layer-dot",
               fmt::format("{} tokens, limit of any pattern: {:.2f}x", columns.labels[i],
                           profile.prefill[i].limit()));
  }
  draw_line(svg, limits, "mark");
  svg.line(12, 14, 32, 14, "mark");
  svg.text(37, 18, "limit of any pattern", "note");
  for (std::size_t p = 1; p < patterns; ++p) {
    const LineStyle& style = kLineStyles[(p - 1) % kLineStyles.size()];
    std::vector<std::pair<double, double>> line;
    for (std::size_t i = 0; i < columns.centers.size(); ++i) {
      const double speed_up = profile.prefill[i].speed_up(p);
      line.emplace_back(columns.centers[i], y.at(speed_up));
      svg.circle(line.back().first, line.back().second, 3, style.dot,
                 fmt::format("{} tokens, {}: {:.2f}x", columns.labels[i],
                             excerpt(profile.patterns[p].name), speed_up));
    }
    draw_line(svg, line, style.line);
    const Place at = legend_place(p);
    svg.line(at.x, at.y - 4, at.x + 20, at.y - 4, style.line);
    svg.text(at.x + 25, at.y, bounded(profile.patterns[p].name, 20), "note");
  }
  draw_category_axis(svg, plot, columns.centers, columns.labels, "tokens");
  return svg;
}

}  // namespace indexcache
