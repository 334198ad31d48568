// SPDX-License-Identifier: Apache-2.0
#include "present/verdict_metrics.h"

#include "present/escape.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace indexcache {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// In a quoted label value, a backslash, a quote and a line break are escaped.
std::string label_value(const std::string& value) {
  std::string text;
  for (const char c : clean_text(value)) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return text;
}

class Metrics {
 public:
  explicit Metrics(Labels common) : common_(std::move(common)) {}

  // Begins a family; its samples follow. A family without samples leaves no trace.
  void family(const std::string& name, const std::string& help) {
    name_ = "indexcache_" + name;
    head_ = fmt::format("# TYPE {0} gauge\n# HELP {0} {1}\n", name_, help);
  }

  void sample(double value, const Labels& labels = {}) {
    Labels all = common_;
    all.insert(all.end(), labels.begin(), labels.end());
    std::string list;
    for (const auto& [name, text] : all) {
      list += fmt::format("{}{}=\"{}\"", list.empty() ? "" : ",", name, label_value(text));
    }
    text_ += std::exchange(head_, "") + fmt::format("{}{{{}}} {}\n", name_, list, value);
  }

  std::string text() const { return text_ + "# EOF\n"; }

 private:
  Labels common_;
  std::string name_, head_, text_;
};

void add_guards(Metrics& metrics, const Verdict& verdict) {
  const auto of = [](const GuardResult& guard) {
    return Labels{{"guard", guard.guard.kind->name}};
  };
  metrics.family("gate_passed", "1 if every guard of the gate passed");
  metrics.sample(verdict.passed() ? 1 : 0);
  metrics.family("guard_passed", "1 if the guard passed");
  for (const GuardResult& guard : verdict.guards) metrics.sample(guard.passed ? 1 : 0, of(guard));
  metrics.family("guard_measured", "What the guard measured; absent if it could not");
  for (const GuardResult& guard : verdict.guards) {
    if (guard.number) metrics.sample(*guard.number, of(guard));
  }
  metrics.family("guard_limit", "Limit of the guard");
  for (const GuardResult& guard : verdict.guards) {
    const LimitKind kind = guard.guard.kind->limit;
    if (kind == LimitKind::number || kind == LimitKind::ratio) {
      metrics.sample(guard.guard.limit.number, of(guard));
    }
    for (const auto& [context, least] : guard.guard.limit.contexts) {
      Labels labels = of(guard);
      labels.emplace_back("context", fmt::format("{}", context));
      metrics.sample(least, labels);
    }
  }
}

void add_result(Metrics& metrics, const StoredPattern& result) {
  metrics.family("layers", "Number of layers");
  metrics.sample(static_cast<double>(result.pattern.layers()));
  metrics.family("full_layers", "Number of layers that run their indexer");
  metrics.sample(static_cast<double>(result.pattern.full_count()));
  const Measured* held = result.held_out();
  metrics.family("loss_increase_nats", "Held-out loss increase in nats per token");
  if (held != nullptr) metrics.sample(held->delta.mean);
  metrics.family("loss_increase_ci95_nats", "Ends of the 95% interval of the loss increase");
  if (held != nullptr && held->delta.ci95) {
    metrics.sample(held->delta.ci95->first, {{"end", "low"}});
    metrics.sample(held->delta.ci95->second, {{"end", "high"}});
  }
  metrics.family("donor_overlap",
                 "Overlap of a shared layer with its donor, as the run measured it");
  if (!result.target) return;
  for (const DonorOverlap& donor : result.target->donors) {
    metrics.sample(donor.overlap, {{"layer", fmt::format("{}", donor.layer)},
                                   {"donor", fmt::format("{}", donor.donor)}});
  }
}

void add_drift(Metrics& metrics, const Drift& drift) {
  metrics.family("donor_overlap_now",
                 "Overlap of a shared layer with its donor on the data of the drift file");
  for (const LayerDrift& layer : drift.layers) {
    metrics.sample(layer.change.now.value(), {{"layer", fmt::format("{}", layer.layer)},
                                              {"donor", fmt::format("{}", layer.donor)}});
  }
  metrics.family("mean_overlap_drop", "Drop of the mean donor overlap since the run");
  metrics.sample(drift.mean_drop());
}

void add_profile(Metrics& metrics, const Profile& profile, const Pattern& pattern) {
  const auto place = profile.place_of(pattern);
  if (!place) return;
  metrics.family("prefill_speed_up", "Measured speed-up of a prefill over all indexers");
  for (const ProfilePoint& point : profile.prefill) {
    metrics.sample(point.speed_up(*place), {{"context", fmt::format("{}", point.context)}});
  }
}

}  // namespace

std::string verdict_metrics(const Verdict& verdict, const Drift* drift, const Profile* profile) {
  const StoredPattern& result = verdict.result;
  Metrics metrics(
      {{"model", result.model ? result.model->name : ""}, {"pattern", result.pattern.text()}});
  add_guards(metrics, verdict);
  add_result(metrics, result);
  if (drift != nullptr) add_drift(metrics, *drift);
  if (profile != nullptr) add_profile(metrics, *profile, result.pattern);
  return metrics.text();
}

}  // namespace indexcache
