// SPDX-License-Identifier: Apache-2.0
#include "present/page_segments.h"

#include "present/charts.h"
#include "present/html.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace indexcache {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string increase_text(double increase) {
  return fmt::format("{:+.4f}", increase);
}

std::string segment_cost_text(const SegmentsReport& segments, const PatternSegment& segment) {
  const auto cost = segments.table.cost(segment);
  if (!cost) return "not measured";
  return (segments.is_estimated(segment) ? "≈ " : "") + increase_text(*cost);
}

// Rows and columns as the cells of the drawing.
Rows segment_rows(const SegmentsReport& segments, const LayerNumbers& numbers) {
  const std::size_t layers = segments.table.start().layers();
  Rows rows = {{"F layer"}};
  for (std::size_t last = 0; last < layers; ++last) {
    rows[0].push_back(fmt::format("{}", numbers.of(last)));
  }
  for (std::size_t first = 0; first < layers; ++first) {
    std::vector<std::string> row(layers + 1);
    row[0] = fmt::format("{}", numbers.of(first));
    for (const std::size_t end : segments.table.ends(first)) {
      row[end] = segment_cost_text(segments, {first, end});  // column end - 1, after the head
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string price_text(const ConstraintPrice& price) {
  if (!price.possible) return "impossible";
  return price.price ? increase_text(*price.price) : "unknown";
}

// One row for each constraint, one column for each target.
Rows price_rows(const Result& result, const SegmentsReport& segments) {
  Rows rows = {{"price of"}};
  for (const Target& target : result.targets) {
    rows[0].push_back(fmt::format("at {} F", target.calibration.pattern.full_count()));
  }
  for (const ConstraintPrice& price : segments.prices) {
    if (rows.size() == 1 || rows.back().size() == rows[0].size()) {
      rows.push_back({constraint_text(result, price)});
    }
    rows.back().push_back(price_text(price));
  }
  return rows;
}

}  // namespace

std::string triangle_html(const Result& result, const SegmentsReport& segments) {
  std::string caption =
      "Loss increase if an F layer (row) feeds the layers after it up to another one (column). "
      "Bright cells are cheap, on a logarithmic scale; cells with a line were not measured. "
      "Frames: the segments of the target.";
  if (!segments.estimated.empty()) {
    caption += fmt::format(
        " {} of them left a race and are estimated from some of the sequences (≈ in the table).",
        segments.estimated.size() == 1 ? "One segment"
                                       : fmt::format("{} segments", segments.estimated.size()));
  }
  return html_section(
      "Which layers may an F layer feed, and at what cost?", caption,
      "<div id=\"triangle\">" + segment_triangle(result, segments).inline_text() +
          "</div>\n<p class=\"muted\" id=\"triangle-value\" data-cell=\"layer # feeds layers up to "
          "#\">point at a cell to see its value</p>\n" +
          html_details("as a table",
                       html_table(segment_rows(segments, result.model.numbers), "triangle-table")));
}

std::string sizes_html(const Result& result, const SegmentsReport& segments) {
  if (segments.sizes.empty()) return "";
  Rows rows = {{"F layers", "predicted loss increase", "measured", "pattern"}};
  for (const SizePoint& point : segments.sizes) {
    rows.push_back({fmt::format("{}", point.full), increase_text(point.predicted),
                    point.measured ? increase_text(*point.measured) : "", point.pattern.text()});
  }
  return html_section(
      "What would other sizes and constraints cost?",
      "Predicted by adding up the costs of segments. The price of a constraint is how much the "
      "loss "
      "of the best pattern of a size increases because of it. It is unknown if a segment that was "
      "not measured could matter; such sizes are left out. Measure a pattern with eval before you "
      "use it.",
      html_table(price_rows(result, segments)) +
          html_details("every size, as a table", html_table(rows)));
}

std::string predictions_html(const SegmentsReport& segments) {
  if (segments.predictions.empty()) return "";
  Rows rows = {{"F layers", "predicted", "measured", "difference", "pattern"}};
  for (const PredictedPattern& pattern : segments.predictions) {
    rows.push_back({fmt::format("{}", pattern.pattern.full_count()),
                    increase_text(pattern.predicted), increase_text(pattern.measured),
                    increase_text(pattern.measured - pattern.predicted), pattern.pattern.text()});
  }
  const PredictionQuality quality = prediction_quality(segments.predictions);
  std::string caption = fmt::format(
      "One point per measured pattern of several segments: {}. Largest difference of measured and "
      "predicted: {}, at {} F layers. ",
      segments.predictions.size(),
      increase_text(quality.worst->measured - quality.worst->predicted),
      quality.worst->pattern.full_count());
  caption += quality.rank_correlation
                 ? fmt::format("Rank correlation {:+.3f}.", *quality.rank_correlation)
                 : "Too few patterns for a rank correlation.";
  return html_section(
      "Do the losses of segments add up?", caption,
      prediction_scatter(segments).inline_text() + html_details("as a table", html_table(rows)));
}

}  // namespace indexcache
