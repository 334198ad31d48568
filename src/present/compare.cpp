// SPDX-License-Identifier: Apache-2.0
// Several runs on one page.
#include "present/charts.h"
#include "present/html.h"
#include "present/page.h"
#include "present/summary_text.h"

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

std::string label(std::size_t r, const RunView& run) {
  return fmt::format("{} {}", r + 1, shortened(run.folder));
}

// The rank of each layer in the order of removal; layers that were never removed share the last.
std::map<std::size_t, double> removal_ranks(const RunView& run) {
  std::map<std::size_t, double> ranks;
  for (std::size_t s = 0; s < run.steps.size(); ++s) {
    ranks[run.steps[s].removed] = static_cast<double>(s);
  }
  return ranks;
}

// Spearman's correlation over the layers that both runs removed.
std::string agreement(const RunView& a, const RunView& b) {
  if (a.layers != b.layers) return "other number of layers";
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
  if (a.layers() != b.layers()) return "other number of layers";
  std::size_t differ = 0;
  for (std::size_t layer = 0; layer < a.layers(); ++layer) {
    if (a.is_full(layer) != b.is_full(layer)) ++differ;
  }
  return differ == 0 ? "equal" : fmt::format("{} layers differ", differ);
}

// Every pattern of the runs, with ^ below the layers that differ from the first run's of the same
// number of F layers.
std::string patterns_html(const std::vector<RunView>& runs) {
  std::string text;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    text += fmt::format("<p class=\"muted\">{}</p>\n", escape_markup(label(r, runs[r])));
    for (const TargetView& target : runs[r].targets) {
      std::string marks;
      for (const TargetView& first : runs[0].targets) {
        if (r == 0 || first.pattern.full_count() != target.pattern.full_count() ||
            first.pattern.layers() != target.pattern.layers()) {
          continue;
        }
        for (std::size_t layer = 0; layer < target.pattern.layers(); ++layer) {
          marks += first.pattern.is_full(layer) == target.pattern.is_full(layer) ? ' ' : '^';
        }
      }
      text += fmt::format("<div class=\"wide\"><pre>{}  {} F\n{}</pre></div>\n",
                          target.pattern.text(), target.pattern.full_count(), marks);
    }
  }
  return text;
}

std::string results_html(const std::vector<RunView>& runs) {
  Rows rows = {{"run", "model", "target", "F", "calibration rise", "held-out rise", "uniform"}};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (const TargetView& target : runs[r].targets) {
      rows.push_back({label(r, runs[r]), shortened(runs[r].name), target.request,
                      fmt::format("{}", target.pattern.full_count()), rise_text(target.calibration),
                      target.holdout ? rise_text(*target.holdout) : "not measured",
                      target.uniform ? rise_text(*target.uniform) : "not measured"});
    }
  }
  return html_table(rows);
}

std::string agreement_html(const std::vector<RunView>& runs) {
  Rows rows = {{"runs", "order of removal, rank correlation", "smallest targets"}};
  for (std::size_t a = 0; a < runs.size(); ++a) {
    for (std::size_t b = a + 1; b < runs.size(); ++b) {
      rows.push_back(
          {fmt::format("{} and {}", a + 1, b + 1), agreement(runs[a], runs[b]),
           pattern_difference(runs[a].targets.back().pattern, runs[b].targets.back().pattern)});
    }
  }
  return html_table(rows);
}

// What differs between the runs, field by field of their fingerprints.
std::string differences_html(const std::vector<RunView>& runs) {
  Rows rows = {{"field"}};
  for (std::size_t r = 0; r < runs.size(); ++r) rows[0].push_back(label(r, runs[r]));
  for (const auto& [field, first] : runs[0].fingerprint.items()) {
    std::vector<std::string> row = {field};
    bool differs = false;
    for (const RunView& run : runs) {
      const Json value = run.fingerprint.value(field, Json());
      differs = differs || value != first;
      row.push_back(value.is_string() ? value.get<std::string>().substr(0, 24) : value.dump());
    }
    if (differs) rows.push_back(std::move(row));
  }
  return rows.size() > 1 ? html_table(rows) : "<p>Their fingerprints are equal.</p>\n";
}

}  // namespace

std::string compare_html(const std::vector<RunView>& runs) {
  std::string body = fmt::format("<h1>{} runs compared</h1>\n<div class=\"grid\">\n", runs.size());
  body += html_section("What did they find?", "Loss against every indexer, nats a token.",
                       results_html(runs), "class=\"across\"");
  body += html_section("What does each removed indexer cost?",
                       "Greedy search on each run's calibration data.",
                       compared_curves(runs).inline_text());
  body += html_section("Where do the patterns differ?",
                       "^ marks layers that differ from the first run's pattern of the same size.",
                       patterns_html(runs));
  body += html_section("Do the orders of removal agree?", "Over the layers that both removed.",
                       agreement_html(runs));
  body += html_section("What was different about the runs?", "Fields of the fingerprint.",
                       differences_html(runs));
  return html_document("IndexCache: runs compared", body + "</div>\n");
}

}  // namespace indexcache
