// SPDX-License-Identifier: Apache-2.0
#include "present/page_comparison.h"

#include "core/count_text.h"
#include "present/html.h"
#include "present/target_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace indexcache {
namespace {

using TableRows = std::vector<std::vector<std::string>>;
using Ends = std::optional<std::pair<double, double>>;

std::string nats(double value) {
  return fmt::format("{:+.4f}", value);
}

std::string ends_text(const Ends& ends) {
  return ends ? fmt::format("{} to {}", nats(ends->first), nats(ends->second)) : "";
}

std::string same_top_text(const Measured& measured) {
  return measured.fidelity ? fmt::format("{:.1f}%", 100 * measured.fidelity->same_top1) : "";
}

std::vector<std::string> row_of(const std::string& name, const Measured& measured) {
  return {name, nats(measured.delta.mean), ends_text(measured.delta.ci95), same_top_text(measured),
          measured.pattern.text()};
}

// Loss increases on the data that verify: held out, or else calibration.
std::string verified_table(const Target& target) {
  TableRows rows = {{"pattern", "loss increase", "95%", "same top token", "layers"}};
  rows.push_back(row_of("chosen (" + target.method + ")", shown_measure(target)));
  for (const ComparedPattern& other : target.compared) {
    if (other.holdout.pattern == target.calibration.pattern) continue;
    rows.push_back(row_of("by " + other.name, other.holdout));
  }
  if (target.uniform_holdout) rows.push_back(row_of("uniform", *target.uniform_holdout));
  if (const auto& random = target.random_holdout) {
    rows.push_back({fmt::format("random, mean of {}", random->patterns), nats(random->mean),
                    fmt::format("from {} to {}", nats(random->least), nats(random->most)), "", ""});
  }
  return html_table(rows);
}

std::string contender_table(const std::vector<Contender>& contenders) {
  TableRows rows = {{"found by", "above the chosen pattern", "95%", "layers"}};
  for (const Contender& contender : contenders) {
    rows.push_back({contender.method, nats(contender.difference), ends_text(contender.ci95),
                    contender.pattern.text()});
  }
  return html_table(rows);
}

// " Every strategy chose this pattern." or by how much the choices of strategies are worse.
std::string winner_text(const Target& target) {
  const auto is_chosen = [&](const Contender& strategy) {
    return strategy.pattern == target.calibration.pattern;
  };
  const std::vector<Contender>& strategies = target.strategies;
  if (strategies.size() > 1 && std::ranges::all_of(strategies, is_chosen)) {
    return " Every strategy chose this pattern.";
  }
  std::string text;
  for (const Contender& strategy : strategies) {
    if (is_chosen(strategy)) continue;
    text += fmt::format(" The choice of {} costs {} more on the calibration data{}.",
                        strategy.method, nats(strategy.difference),
                        strategy.ci95 ? fmt::format(" (95% {})", ends_text(strategy.ci95)) : "");
  }
  return text;
}

std::string halves_text(const Target& target) {
  if (target.halves.empty()) return "";
  const bool agree = target.halves[0].pattern == target.halves[1].pattern;
  return fmt::format(
      "<p>Searched separately, the even and the odd calibration sequences choose {}. On the other "
      "half, their choices cost {:.4f} and {:.4f} more than what that half chooses.</p>\n",
      agree ? "the same pattern" : "different patterns", target.halves[0].regret,
      target.halves[1].regret);
}

std::string ties_html(const Target& target) {
  if (target.ties.empty()) return "";
  return html_details(fmt::format("{} measured pattern{} that the calibration data cannot tell "
                                  "from the chosen one",
                                  target.ties.size(), target.ties.size() == 1 ? "" : "s"),
                      contender_table(target.ties));
}

}  // namespace

std::string comparison_html(const Target& target, const std::string& attributes) {
  const char* data = target.holdout ? "Held-out" : "Calibration";
  std::string content = verified_table(target) + halves_text(target) + ties_html(target);
  if (!target.strategies.empty()) {
    content += html_details("choices of the strategies, on the calibration data",
                            contender_table(target.strategies));
  }
  return html_section("How do other patterns of this size compare?",
                      fmt::format("{} loss increase, nats per token.{}", data, winner_text(target)),
                      content, attributes);
}

std::string fidelity_html(const Target& target, const std::string& attributes) {
  const auto& fidelity = shown_measure(target).fidelity;
  if (!fidelity) return "";
  TableRows rows = {{"positions", "tokens", "loss, every indexer", "loss, pattern", "increase"}};
  for (const PositionLosses& at : fidelity->positions) {
    rows.push_back({fmt::format("{} to {}", count_text(at.begin), count_text(at.end)),
                    count_text(at.tokens), loss_text(at.reference_loss), loss_text(at.loss),
                    nats(at.loss - at.reference_loss)});
  }
  const std::string caption = fmt::format(
      "Of {} {} tokens beyond index_topk, {:.2f}% keep their most likely token. The KL divergence "
      "from the predictions with every indexer is {:.4f} nats per token on average, and at most "
      "{:.4f} for 99% of the tokens.",
      count_text(fidelity->tokens), target.holdout ? "held-out" : "calibration",
      100 * fidelity->same_top1, fidelity->kl_mean, fidelity->kl_p99);
  return html_section("Do the predictions stay the same?", caption, html_table(rows), attributes);
}

}  // namespace indexcache
