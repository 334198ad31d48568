// SPDX-License-Identifier: Apache-2.0
// Several runs on one page.
#include "present/charts.h"
#include "present/escape.h"
#include "present/html.h"
#include "present/page.h"
#include "present/search_curve.h"
#include "present/target_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace indexcache {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// Long names are cut in tables; whole characters are kept.
std::string shortened(const std::string& text, std::size_t most = 32) {
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string label(std::size_t r, const Report& run) {
  return fmt::format("{} {}", r + 1, shortened(run.folder));
}

// The rank of each layer in the order of removal, of a search that removes one by one.
std::map<std::size_t, double> removal_ranks(const Result& result) {
  std::map<std::size_t, double> ranks;
  const SearchPath* search = one_by_one(result);
  if (search == nullptr) return ranks;
  const Pattern* before = &search->start;
  for (const PathStep& step : search->steps) {
    const auto rank = static_cast<double>(ranks.size());
    for (const std::size_t layer : newly_shared(*before, step.pattern)) ranks[layer] = rank;
    before = &step.pattern;
  }
  return ranks;
}

// Spearman's correlation over the layers that both runs removed.
std::string agreement(const Result& a, const Result& b) {
  if (a.model.layers != b.model.layers) return "different number of layers";
  const auto left = removal_ranks(a);
  const auto right = removal_ranks(b);
  std::vector<double> x;
  std::vector<double> y;
  for (const auto& [layer, rank] : left) {
    const auto other = right.find(layer);
    if (other == right.end()) continue;
    x.push_back(rank);
    y.push_back(other->second);
  }
  const auto rank = rank_correlation(x, y);
  return rank ? fmt::format("{:+.2f} over {} layers", *rank, x.size()) : "too few layers in common";
}

std::string pattern_difference(const Pattern& a, const Pattern& b) {
  if (a.layers() != b.layers()) return "different number of layers";
  std::size_t differ = 0;
  for (std::size_t layer = 0; layer < a.layers(); ++layer) {
    if (a.is_full(layer) != b.is_full(layer)) ++differ;
  }
  return differ == 0 ? "equal" : fmt::format("{} layers differ", differ);
}

// ^ below the layers that differ from the pattern of the same size among `others`.
std::string difference_marks(const Pattern& pattern, const std::vector<Target>& others) {
  std::string marks;
  for (const Target& other : others) {
    const Pattern& first = other.calibration.pattern;
    const bool same_size =
        first.full_count() == pattern.full_count() && first.layers() == pattern.layers();
    for (std::size_t layer = 0; same_size && layer < pattern.layers(); ++layer) {
      marks += first.is_full(layer) == pattern.is_full(layer) ? ' ' : '^';
    }
  }
  return marks;
}

// Every pattern of the runs, with marks that compare it with the first run.
std::string patterns_html(const std::vector<Report>& runs) {
  std::string text;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    text += fmt::format("<p class=\"muted\">{}</p>\n", escape_markup(label(r, runs[r])));
    for (const Target& target : runs[r].result.targets) {
      const Pattern& pattern = target.calibration.pattern;
      text += fmt::format("<div class=\"wide\"><pre>{}  {} F\n{}</pre></div>\n", pattern.text(),
                          pattern.full_count(),
                          r == 0 ? "" : difference_marks(pattern, runs[0].result.targets));
    }
  }
  return text;
}

std::string results_html(const std::vector<Report>& runs) {
  Rows rows = {
      {"run", "model", "target", "F", "found by", "calibration", "held out", "uniform, held out"}};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Result& result = runs[r].result;
    for (const Target& target : result.targets) {
      const auto rise = [](const std::optional<Measured>& measured) {
        return measured ? rise_text(*measured) : std::string("not measured");
      };
      rows.push_back({label(r, runs[r]), shortened(result.model.name), target.request,
                      fmt::format("{}", target.calibration.pattern.full_count()), target.method,
                      rise_text(target.calibration), rise(target.holdout),
                      rise(target.uniform_holdout)});
    }
  }
  return html_table(rows);
}

std::string agreement_html(const std::vector<Report>& runs) {
  Rows rows = {{"runs", "order of removal, rank correlation", "smallest targets"}};
  for (std::size_t a = 0; a < runs.size(); ++a) {
    for (std::size_t b = a + 1; b < runs.size(); ++b) {
      rows.push_back({fmt::format("{} and {}", a + 1, b + 1),
                      agreement(runs[a].result, runs[b].result),
                      pattern_difference(runs[a].result.targets.back().calibration.pattern,
                                         runs[b].result.targets.back().calibration.pattern)});
    }
  }
  return html_table(rows);
}

// What differs between the runs, field by field of their fingerprints.
std::string differences_html(const std::vector<Report>& runs) {
  Rows rows = {{"field"}};
  for (std::size_t r = 0; r < runs.size(); ++r) rows[0].push_back(label(r, runs[r]));
  for (const auto& [field, first] : runs[0].result.fingerprint) {
    std::vector<std::string> row = {field};
    bool differs = false;
    for (const Report& run : runs) {
      const Fingerprint& fingerprint = run.result.fingerprint;
      const auto found = std::ranges::find(fingerprint, field, &Fingerprint::value_type::first);
      const std::string value = found == fingerprint.end() ? "unknown" : found->second;
      differs = differs || value != first;
      row.push_back(shortened(value, 24));
    }
    if (differs) rows.push_back(std::move(row));
  }
  return rows.size() > 1 ? html_table(rows) : "<p>Their fingerprints are equal.</p>\n";
}

}  // namespace

std::string compare_html(const std::vector<Report>& runs) {
  std::string body = fmt::format("<h1>{} runs compared</h1>\n<div class=\"grid\">\n", runs.size());
  body += html_section("What did they find?",
                       "Loss increase over running every indexer, in nats per token.",
                       results_html(runs), "class=\"across\"");
  body +=
      html_section("What does each removed indexer cost?", "Search on each run's calibration data.",
                   compared_curves(runs).inline_text());
  body += html_section("Where do the patterns differ?",
                       "^ marks layers that differ from the first run's pattern of the same size.",
                       patterns_html(runs));
  body += html_section("Do the orders of removal agree?", "For layers that both runs removed.",
                       agreement_html(runs));
  body += html_section("What was different about the runs?", "Fields of the fingerprint.",
                       differences_html(runs));
  return html_document("IndexCache: runs compared", body + "</div>\n");
}

}  // namespace indexcache
