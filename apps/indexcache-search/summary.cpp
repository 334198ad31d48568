// SPDX-License-Identifier: Apache-2.0
#include "summary.h"

#include "engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

namespace indexcache {
namespace {

// "+0.02894  95% [+0.02210, +0.03570]"
std::string rise(const Json& measured) {
  std::string text = delta_text(measured["delta"]);
  const Json& interval = measured["delta_ci95"];
  if (interval.is_null()) return text + "  (one sequence: no interval)";
  return text + fmt::format("  95% [{}, {}]", delta_text(interval[0]), delta_text(interval[1]));
}

std::string target_text(const Json& run, const Json& target, const std::string& file) {
  const auto layers = run["model"]["layers"].get<std::size_t>();
  const auto kept = target["kept"].get<std::size_t>();
  std::string text =
      fmt::format("\n{}\n  {} of {} layers keep their indexer ({:.0f} % of indexer work gone)\n",
                  target["pattern"].get<std::string>(), kept, layers,
                  100.0 * static_cast<double>(layers - kept) / static_cast<double>(layers));
  text += fmt::format("  calibration loss  {}\n", rise(target["calibration"]));
  if (target.contains("holdout")) {
    text += fmt::format("  held-out loss     {}\n", rise(target["holdout"]));
    text += fmt::format("  uniform, held out {}\n", rise(target["uniform_holdout"]));
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

// The loss rise of every step in at most 70 columns: up to four of them a step where there are few,
// the last of each group of steps where there are many.
std::vector<double> curve_columns(const Json& steps) {
  constexpr std::size_t kColumns = 70;
  const std::size_t stride = (steps.size() + kColumns - 1) / kColumns;
  const std::size_t width = std::clamp<std::size_t>(kColumns / steps.size(), 1, 4);
  std::vector<double> rises;
  for (std::size_t s = stride; s <= steps.size(); s += stride) {
    rises.insert(rises.end(), width, std::max(steps[s - 1]["delta"].get<double>(), 0.0));
  }
  return rises;
}

// A block plot of 80 columns and four rows.
std::string curve_text(const Json& steps) {
  if (steps.size() < 2) return "";
  const std::vector<double> rises = curve_columns(steps);
  const double most = std::max(*std::ranges::max_element(rises), 1e-9);
  const bool blocks = terminal_has_blocks();
  std::string text =
      fmt::format("\ncalibration loss rise, {} indexers removed one by one\n", steps.size());
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

std::string pattern_file_name(std::size_t index, std::size_t count, std::size_t kept) {
  return index + 1 == count ? "pattern.yaml" : fmt::format("pattern-{}F.yaml", kept);
}

std::string summary_text(const Json& run, const std::string& folder) {
  std::string text =
      fmt::format("{}: loss {} with every indexer, on {} sequences ({} tokens)\n",
                  run["model"]["name"].get<std::string>(), loss_text(run["baseline"]["loss"]),
                  run["calibration"]["sequences"].get<std::size_t>(),
                  run["calibration"]["tokens"].get<std::int64_t>());
  const Json& holdout = run["holdout"];
  text += holdout.is_null()
              ? "no held-out sequences: the result is not verified on data the search never saw\n"
              : fmt::format("{} held-out sequences: loss {} with every indexer\n",
                            holdout["sequences"].get<std::size_t>(),
                            loss_text(holdout["baseline_loss"]));
  text += curve_text(run["steps"]);
  const Json& targets = run["targets"];
  for (std::size_t t = 0; t < targets.size(); ++t) {
    const std::string name = pattern_file_name(t, targets.size(), targets[t]["kept"]);
    text += target_text(run, targets[t], folder + "/" + name);
  }
  for (const Json& warning : run["warnings"]) {
    text += fmt::format("\nwarning: {}", warning.get<std::string>());
  }
  text += fmt::format("\n{0}/report.html  {0}/run.json  {0}/overlap.h5  {0}/heatmap.png\n", folder);
  text += fmt::format(
      "next: indexcache-search export {0} --engine vllm   (sglang, transformers, …; or --all)\n"
      "      indexcache-search eval MODEL {0}/pattern.yaml --calibration OTHER_DATA\n",
      folder);
  return text;
}

}  // namespace indexcache
