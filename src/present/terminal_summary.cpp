// SPDX-License-Identifier: Apache-2.0
#include "present/terminal_summary.h"

#include "core/count_text.h"
#include "core/shell_quote.h"
#include "core/word_wrap.h"
#include "present/search_curve.h"
#include "present/sharing_doubts.h"
#include "present/target_text.h"
#include "result/served_model.h"
#include "result/stored_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

namespace indexcache {
namespace {

constexpr std::size_t kSummaryColumns = 80;

// "+0.02894  95% [+0.02210, +0.03570]"
std::string interval_text(const Measured& measured) {
  const PairedDifference& delta = measured.delta;
  const std::string text = delta_text(delta.mean);
  if (!delta.ci95) return text + "  (only one sequence: no interval)";
  return text + fmt::format("  95% [{}, {}]", delta_text(delta.ci95->first),
                            delta_text(delta.ci95->second));
}

// "+0.00312  95% [+0.00101, +0.00523]"
std::string difference_text(const Contender& contender) {
  std::string text = delta_text(contender.difference);
  if (contender.ci95) {
    text += fmt::format("  95% [{}, {}]", delta_text(contender.ci95->first),
                        delta_text(contender.ci95->second));
  }
  return text;
}

// What the strategies chose by themselves, and what the data cannot tell apart.
std::string contest_text(const Target& target) {
  const Pattern& chosen = target.calibration.pattern;
  std::string text;
  for (const Contender& strategy : target.strategies) {
    const bool same = strategy.pattern == chosen;
    text += fmt::format("  {:<20}{}\n", "by " + strategy.method,
                        same ? "this pattern" : difference_text(strategy) + "  above this");
  }
  if (!target.ties.empty()) {
    text += fmt::format("  ties                {} other measured pattern{} within the error\n",
                        target.ties.size(), target.ties.size() == 1 ? "" : "s");
  }
  return text;
}

// The even sequences are the first half, the odd ones the second.
std::string stability_text(const Target& target) {
  if (target.halves.empty()) return "";
  const Pattern& chosen = target.calibration.pattern;
  std::string text;
  for (std::size_t half = 0; half < target.halves.size(); ++half) {
    const HalfChoice& choice = target.halves[half];
    text += fmt::format("  {:<20}choose {}; regret on the others {}\n",
                        half == 0 ? "even sequences" : "odd sequences",
                        choice.pattern == chosen ? "this pattern" : choice.pattern.text(),
                        delta_text(choice.regret));
  }
  return text;
}

std::string target_text(const Result& result, const Target& target, const std::string& file) {
  const Pattern& pattern = target.calibration.pattern;
  const std::size_t layers = pattern.layers();
  const std::size_t kept = pattern.full_count();
  std::string text = fmt::format(
      "\n{}\n  {} of {} layers keep their indexer ({:.0f}% of indexer work removed; {})\n",
      pattern.text(), kept, layers, saved_percent(result, target), target.method);
  text += fmt::format("  calibration loss    {}\n", interval_text(target.calibration));
  text += contest_text(target) + stability_text(target);
  if (target.holdout) {
    text += fmt::format("  held-out loss       {}\n", interval_text(*target.holdout));
  }
  if (target.uniform_holdout) {
    const Measured& uniform = *target.uniform_holdout;
    text += fmt::format("  uniform, held out   {}\n",
                        uniform.pattern == pattern ? "this pattern" : interval_text(uniform));
  }
  for (const ComparedPattern& other : target.compared) {
    if (other.holdout.pattern == pattern) continue;
    text += fmt::format("  {:<20}{}\n", other.name + ", held out", interval_text(other.holdout));
  }
  if (const auto& fidelity = shown_measure(target).fidelity) {
    text +=
        fmt::format("  {:<20}{:.2f}% beyond index_topk; KL {:.4f}, p99 {:.4f}\n", "same top token",
                    100 * fidelity->same_top1, fidelity->kl_mean, fidelity->kl_p99);
  }
  if (target.distilled) {
    text += fmt::format("  trained indexers    {} with {}\n",
                        delta_text(target.distilled->with.mean), target.distilled->folder);
    if (target.distilled->without) {
      text +=
          fmt::format("  released indexers   {}\n", delta_text(target.distilled->without->mean));
    }
  }
  if (target.random_holdout) {
    const auto patterns = target.random_holdout->patterns;
    text +=
        fmt::format("  random, held out    {}  mean of {} pattern{}\n",
                    delta_text(target.random_holdout->mean), patterns, patterns == 1 ? "" : "s");
  }
  for (const std::string& doubt : sharing_doubts(result, target)) {
    text += "  note: " + word_wrap(doubt, 8, kSummaryColumns) + "\n";
  }
  return text + fmt::format("  {}\n", file);
}

// Eighths of a block, from none to all of it.
constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::size_t kRows = 4;

// The first of these that is set says how text is encoded.
bool terminal_has_blocks() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string locale = value;
    return locale.find("UTF-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

// The rises of a curve in at most 70 columns: up to four of them per step if there are few, the
// last of each group of steps if there are many.
std::vector<double> curve_columns(const std::vector<CurvePoint>& steps) {
  constexpr std::size_t kColumns = 70;
  const std::size_t stride = (steps.size() + kColumns - 1) / kColumns;
  const std::size_t width = std::clamp<std::size_t>(kColumns / steps.size(), 1, 4);
  std::vector<double> rises;
  for (std::size_t s = stride; s <= steps.size(); s += stride) {
    rises.insert(rises.end(), width, std::max(steps[s - 1].rise, 0.0));
  }
  return rises;
}

// A block plot of 80 columns and four rows: of the search that removes indexers one by one.
std::string curve_text(const Result& result) {
  const SearchPath* search = one_by_one(result);
  if (search == nullptr) return "";
  std::vector<CurvePoint> steps = search_curve(result, *search);
  std::erase_if(steps, [](const CurvePoint& point) { return point.removed == 0; });
  if (steps.size() < 2) return "";
  const std::vector<double> rises = curve_columns(steps);
  const double most = std::max(*std::ranges::max_element(rises), 1e-9);
  const bool blocks = terminal_has_blocks();
  std::string text = fmt::format("\ncalibration {} as {} indexers are removed\n",
                                 value_text(result), steps.size());
  for (std::size_t row = kRows; row-- > 0;) {
    text += row + 1 == kRows ? fmt::format("{:+.4f} |", most)
            : row == 0       ? "      0 |"
                             : "        |";
    for (const double rise : rises) {
      const double filled = rise / most * kRows * 8 - static_cast<double>(row) * 8;
      const auto level = static_cast<std::size_t>(std::clamp(std::lround(filled), 0L, 8L));
      text += blocks ? kBlocks[level] : level >= 4 ? "#" : level > 0 ? "." : " ";
    }
    while (text.back() == ' ') text.pop_back();
    text += "\n";
  }
  return text;
}

}  // namespace

std::string summary_text(const Result& result, const std::string& folder) {
  std::string text =
      fmt::format("{}: loss {} with every indexer, on {} sequences ({} tokens)\n",
                  result.model.name, loss_text(result.baseline_loss), result.calibration.sequences,
                  count_text(result.calibration.tokens));
  if (result.model.indexer) {
    text += fmt::format("everything was measured with the indexer {}\n",
                        indexer_text(result.model.indexer));
  }
  text += result.holdout
              ? fmt::format("{} held-out sequence{}: loss {} with every indexer\n",
                            result.holdout->tokens.sequences,
                            result.holdout->tokens.sequences == 1 ? "" : "s",
                            loss_text(result.holdout->baseline_loss))
              : "no held-out sequences: the result is not verified on data the search never saw\n";
  text += curve_text(result);
  const std::vector<Target>& targets = result.targets;
  std::string pattern_file;
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const std::size_t kept = targets[t].calibration.pattern.full_count();
    pattern_file = folder + "/" + pattern_file_name(t, targets.size(), kept);
    text += target_text(result, targets[t], pattern_file);
  }
  if (const std::string races = race_text(result); !races.empty()) text += "\n" + races + "\n";
  for (const std::string& warning : result.warnings) {
    text += fmt::format("\nwarning: {}", warning);
  }
  text += fmt::format("\n{0}/report.html  {0}/run.json  {0}/overlap.h5  {0}/heatmap.png\n", folder);
  const auto& distilled = result.targets.back().distilled;
  const std::string trained =
      distilled ? shell_quoted(fmt::format("{}/{}", folder, distilled->folder)) : "";
  const Target& last = result.targets.back();
  const Json engines = engines_json(last.calibration.pattern, served_model(result.model, &last));
  text += "next: ";
  if (!engines.empty()) {
    text += fmt::format("indexcache-search export {} --engine {}{}{}\n      ", shell_quoted(folder),
                        engines.contains("vllm") ? "vllm" : engines.begin().key(),
                        trained.empty() ? "" : " --model " + trained,
                        engines.size() > 1 ? "   (sglang, transformers, …; or --all)" : "");
  }
  text += fmt::format("indexcache-search eval {} {} --calibration OTHER_DATA\n",
                      trained.empty() ? "MODEL" : trained, shell_quoted(pattern_file));
  return text;
}

}  // namespace indexcache
