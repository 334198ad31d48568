// SPDX-License-Identifier: Apache-2.0
#include "present/distillation_text.h"

#include "core/progress.h"
#include "core/shell_quote.h"
#include "present/target_text.h"

#include <fmt/format.h>

#include <filesystem>

namespace indexcache {
namespace {

std::string interval_text(const PairedDifference& difference) {
  std::string text = delta_text(difference.mean) + " nats";
  if (difference.ci95) {
    text += fmt::format(" (95% {} to {})", delta_text(difference.ci95->first),
                        delta_text(difference.ci95->second));
  }
  return text;
}

std::string row(const JudgedPattern& judged) {
  return fmt::format("  {:9} {:11} {}  loss {}  {}\n", judged.name, judged.indexers,
                     judged.measured.pattern.text(), loss_text(judged.measured.loss),
                     interval_text(judged.measured.delta));
}

}  // namespace

std::string distillation_verdict(const Distillation& d) {
  const char* data = d.judge_is_held_out ? "held-out" : "validation";
  const Measured& before = d.find("pattern", "checkpoint")->measured;
  const Measured& after = d.find("pattern", d.chosen)->measured;
  if (!d.gain) {
    return fmt::format("No gain: on {} data the loss changes by {}. The base checkpoint is kept.",
                       data, interval_text(d.change));
  }
  return fmt::format("On {} data the loss increase falls from {} to {} nats; the change is {}.",
                     data, delta_text(before.delta.mean), delta_text(after.delta.mean),
                     interval_text(d.change));
}

std::string distillation_text(const Distillation& d, const std::string& folder) {
  std::string text = distillation_verdict(d) + "\n\n";
  text += fmt::format("Loss increase over all-Full ({}) on {} sequences:\n",
                      loss_text(d.baseline_loss), d.judge.sequences);
  for (const JudgedPattern& judged : d.judged) text += row(judged);
  text += "\nAttention on the selected positions:\n";
  for (const TrainedLayer& layer : d.layers) {
    if (!layer.mass_before || !layer.mass_after) continue;
    text +=
        fmt::format("  layer {} for layers {} to {}: {:.1f}% before, {:.1f}% after\n", layer.layer,
                    layer.layer, layer.end - 1, 100 * *layer.mass_before, 100 * *layer.mass_after);
  }
  if (!d.complete) text += "\nThe budget ended the training; the same command continues it.\n";
  const std::filesystem::path path = folder;
  text += "\n";
  if (d.gain) {
    const std::string model = shell_quoted((path / "model").string());
    text += fmt::format("checkpoint: {}\nnext: indexcache-search eval {} {} -c DATA\n", model,
                        model, d.pattern.text());
  }
  text += fmt::format("report: {}\n", shell_quoted((path / "report.html").string()));
  return text;
}

}  // namespace indexcache
