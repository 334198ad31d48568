// SPDX-License-Identifier: Apache-2.0
#include "present/run_view.h"

#include "core/error.h"
#include "result/overlap_file.h"
#include "result/pattern_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace indexcache {
namespace {

[[noreturn]] void fail(const std::filesystem::path& folder, const std::string& why) {
  throw InputError({"the run cannot be shown", folder.string(), why,
                    "the folder of a finished run of this program"});
}

Pattern pattern_of(const Json& json, std::size_t layers) {
  Pattern pattern = Pattern::parse(json.get<std::string>());
  if (pattern.layers() != layers) throw std::runtime_error("a pattern has another length");
  return pattern;
}

Rise rise_of(const Json& measured, std::size_t layers) {
  Rise rise{.pattern = pattern_of(measured.at("pattern"), layers),
            .mean = measured.at("delta").get<double>(),
            .low = std::nullopt,
            .high = std::nullopt,
            .sequences = measured.at("sequence_deltas").get<std::vector<double>>()};
  const Json& interval = measured.at("delta_ci95");
  if (!interval.is_null()) {
    rise.low = interval.at(0).get<double>();
    rise.high = interval.at(1).get<double>();
  }
  return rise;
}

TargetView target_of(const Json& target, std::size_t layers) {
  const auto optional = [&](const char* key) {
    return target.contains(key) ? std::optional(rise_of(target[key], layers)) : std::nullopt;
  };
  return {.request = target.at("request").get<std::string>(),
          .pattern = pattern_of(target.at("pattern"), layers),
          .calibration = rise_of(target.at("calibration"), layers),
          .holdout = optional("holdout"),
          .uniform = optional("uniform_holdout")};
}

StepView step_of(const Json& step, double baseline, std::size_t layers) {
  StepView view{.pattern = pattern_of(step.at("pattern"), layers),
                .removed = step.at("removed").get<std::size_t>(),
                .rise = step.at("delta").get<double>(),
                .candidates = {}};
  for (const Json& candidate : step.at("candidates")) {
    view.candidates.push_back(
        {candidate.at("layer").get<std::size_t>(), candidate.at("loss").get<double>() - baseline});
    if (view.candidates.back().layer >= layers) throw std::runtime_error("no such layer");
  }
  if (view.removed >= layers) throw std::runtime_error("no such layer");
  return view;
}

std::vector<BenchView> bench_of(const Json& bench) {
  std::vector<BenchView> rows;
  if (!bench.is_object() || !bench.contains("prefill")) return rows;
  for (const Json& row : bench.at("prefill")) {
    BenchView view{.context = row.at("context").get<std::int64_t>(),
                   .pattern = row.at("pattern").get<std::string>(),
                   .milliseconds = row.at("milliseconds").get<double>(),
                   .speed_up = std::nullopt,
                   .stages = {}};
    if (row.contains("speed_up")) view.speed_up = row["speed_up"].get<double>();
    if (row.contains("stage_milliseconds")) {
      for (const auto& [stage, value] : row["stage_milliseconds"].items()) {
        view.stages.emplace_back(stage, value.get<double>());
      }
    }
    rows.push_back(std::move(view));
  }
  return rows;
}

RunView convert(const Json& run, Overlap overlap, const Json& bench,
                const std::filesystem::path& folder) {
  if (run.at("schema") != "indexcache-run/1") {
    fail(folder, fmt::format("its schema is {}", run.at("schema").dump()));
  }
  RunView view{.name = run.at("model").at("name").get<std::string>(),
               .folder = folder.filename().string(),
               .model = run.at("model"),
               .calibration = run.at("calibration"),
               .holdout = run.at("holdout"),
               .tool = run.at("tool"),
               .settings = run.at("settings"),
               .fingerprint = run.at("fingerprint"),
               .device = run.at("device").get<std::string>(),
               .created = run.at("created").at("at").get<std::string>(),
               .warnings = run.at("warnings").get<std::vector<std::string>>(),
               .layers = run.at("model").at("layers").get<std::size_t>(),
               .baseline_loss = run.at("baseline").at("loss").get<double>(),
               .steps = {},
               .targets = {},
               .overlap = std::move(overlap),
               .bench = bench_of(bench)};
  view.baseline = pattern_of(run.at("baseline").at("pattern"), view.layers);
  for (const Json& step : run.at("steps")) {
    view.steps.push_back(step_of(step, view.baseline_loss, view.layers));
  }
  for (const Json& target : run.at("targets")) {
    view.targets.push_back(target_of(target, view.layers));
  }
  if (view.targets.empty()) fail(folder, "it has no target");
  if (view.overlap.layers != view.layers) fail(folder, "overlap.h5 is of another model");
  return view;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> rank(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean = static_cast<double>(begin + end - 1) / 2;
    for (std::size_t i = begin; i < end; ++i) rank[order[i]] = mean;
    begin = end;
  }
  return rank;
}

}  // namespace

std::vector<std::pair<std::size_t, double>> RunView::curve() const {
  std::vector<std::pair<std::size_t, double>> points = {{0, 0.0}};
  for (const StepView& step : steps) points.emplace_back(points.size(), step.rise);
  return points;
}

std::optional<std::size_t> RunView::knee() const {
  const auto points = curve();
  if (points.size() < 4) return std::nullopt;
  const double end = static_cast<double>(points.back().first);
  std::optional<std::size_t> farthest;
  double most = 0;
  for (const auto& [count, rise] : points) {
    const double chord = points.back().second * static_cast<double>(count) / end;
    if (chord - rise > most) {
      most = chord - rise;
      farthest = count;
    }
  }
  return farthest;
}

std::vector<CandidateView> RunView::sensitivity() const {
  for (const StepView& step : steps) {
    if (step.candidates.size() > 1) return step.candidates;
  }
  return {};
}

RunView make_run_view(const Json& run, Overlap overlap, const Json& bench,
                      const std::filesystem::path& folder) {
  try {
    return convert(run, std::move(overlap), bench, folder);
  } catch (const Json::exception& error) {
    fail(folder, fmt::format("run.json or bench.json lacks something: {}", error.what()));
  } catch (const Error& error) {
    throw;
  } catch (const std::runtime_error& error) {
    fail(folder, error.what());
  }
}

RunView read_run_view(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "run.json")) {
    fail(folder, std::filesystem::exists(folder / "journal.jsonl") ? "the run is not finished"
                                                                   : "it holds no run.json");
  }
  const Json run = read_document(folder / "run.json");
  if (!run.is_object()) fail(folder, "run.json holds no object");
  Json bench;
  if (std::filesystem::exists(folder / "bench.json")) bench = read_document(folder / "bench.json");
  return make_run_view(run, read_overlap(folder / "overlap.h5").overlap, bench, folder);
}

std::optional<double> rank_correlation(const std::vector<double>& x, const std::vector<double>& y) {
  if (x.size() < 3 || x.size() != y.size()) return std::nullopt;
  const std::vector<double> a = ranks(x);
  const std::vector<double> b = ranks(y);
  const double mean = static_cast<double>(x.size() - 1) / 2;
  double both = 0;
  double left = 0;
  double right = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    both += (a[i] - mean) * (b[i] - mean);
    left += (a[i] - mean) * (a[i] - mean);
    right += (b[i] - mean) * (b[i] - mean);
  }
  if (left == 0 || right == 0) return std::nullopt;
  return both / std::sqrt(left * right);
}

}  // namespace indexcache
