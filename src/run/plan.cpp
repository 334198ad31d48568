// SPDX-License-Identifier: Apache-2.0
#include "run/plan.h"

#include "core/bytes.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "core/process_time.h"
#include "core/thread_count.h"
#include "run/search_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace indexcache {
namespace {

// The sweeps of a run that satisfy a condition.
Workload part_of(const Workload& work, const std::function<bool(const CountedSweep&)>& holds) {
  Workload part;
  for (const CountedSweep& sweep : work.sweeps) {
    if (holds(sweep)) part.sweeps.push_back(sweep);
  }
  return part;
}

// Of sweeps in the middle of a run: what is done once is done already.
double seconds_of(const Workload& part, const RunPlan& plan) {
  if (part.sweeps.empty()) return 0;
  Costs repeated = plan.costs;
  repeated.once = repeated.first_byte = 0;
  return run_time(part, plan.streamed_bytes > 0, repeated, plan.weights).total();
}

void estimate_time(RunPlan& plan) {
  const auto refines = [](const CountedSweep& sweep) { return sweep.phase == Phase::refinement; };
  plan.time = run_time(part_of(plan.work, std::not_fn(refines)), plan.streamed_bytes > 0,
                       plan.costs, plan.weights);
  plan.time.once += plan.startup_seconds;
  if (plan.training) plan.time.once += plan.training->seconds;
  plan.refinement_seconds = seconds_of(part_of(plan.work, refines), plan);
  for (StrategyPlan& strategy : plan.strategies) {
    strategy.seconds =
        seconds_of(part_of(plan.work,
                           [&](const CountedSweep& sweep) {
                             return sweep.phase == Phase::search && sweep.method == strategy.name;
                           }),
                   plan);
  }
}

// Whether the number of candidates is the same whatever the losses are: a limit on runs of S layers
// removes some, depending on the path, segments are measured until they cannot matter, and races
// end when they are decided.
bool is_exact(const SearchSubject& subject) {
  return !subject.max_rise && subject.space.constraints.max_run == 0 &&
         !(subject.race_all && subject.space.races) &&
         std::ranges::none_of(subject.strategies,
                              [](const Strategy* strategy) { return strategy->depends_on_losses; });
}

// Counts what the run does with weights placed so: the run itself, on instruments that count.
void count_work(RunPlan& plan, const Model& model, const SearchSubject& subject,
                const Device& backend, Placement placement) {
  plan.placement = placement;
  plan.weight_bytes = plan.weights.device(placement) + backend.uploader_bytes();
  if (subject.indexers) {
    plan.weight_bytes += indexer_bytes(model.config, backend, subject.indexers->all().size());
  }
  PlanningInstruments instruments(model.config, backend, subject,
                                  sweep_memory(backend, plan.weight_bytes));
  Progress silent(Progress::Style::off);
  plan.exact = is_exact(subject);
  plan.finds_size = subject.max_rise.has_value();
  if (subject.races_anything()) plan.race_confidence = subject.space.races->confidence;
  const SearchOutcome outcome = search_run(subject, instruments, silent);
  plan.work = instruments.workload();
  plan.strategies.clear();
  for (std::size_t i = 0; i < subject.strategies.size(); ++i) {
    const std::string_view name = subject.strategies[i]->name;
    plan.strategies.push_back({.name = name,
                               .steps = outcome.searches[i].steps.size(),
                               .evaluations = plan.work.evaluations(Phase::search, name),
                               .layer_visits = plan.work.layer_visits(Phase::search, name)});
  }
}

// A loss per pattern and sequence in the journal, a report, and two matrices per position bucket.
std::int64_t folder_bytes(const RunPlan& plan, std::int64_t layers) {
  return 26 * plan.work.evaluations(Phase::search) * static_cast<std::int64_t>(plan.sequences) +
         (std::int64_t{1} << 20) + layers * layers * 16 * 8;
}

std::string kinds_text(const RunPlan& plan) {
  std::string text = fmt::format("weights {}", bytes_text(plan.weight_bytes));
  const auto bytes = plan.work.most_bytes();
  for (std::size_t k = 0; k < kMemoryKinds; ++k) {
    if (bytes[k] > 0) text += fmt::format(", {} {}", kMemoryNames[k], bytes_text(bytes[k]));
  }
  return text;
}

std::string range_text(const RunPlan& plan) {
  const double seconds = plan.time.total(), factor = 1 + plan.costs.uncertainty;
  return fmt::format("{} ({} to {}; {})", format_duration(seconds),
                     format_duration(seconds / factor), format_duration(seconds * factor),
                     plan.costs.source);
}

}  // namespace

RunPlan make_plan(const Model& model, const SearchSubject& subject, const Device& backend,
                  const DeviceOptions& device, std::size_t devices, double speed) {
  const CalibrationData& data = subject.data;
  RunPlan plan;
  plan.speed = speed;
  plan.threads = thread_count(device.threads);
  plan.weights =
      weight_sizes(model.config, model.checkpoint, model.has_indexer, backend.weight_types());
  plan.sequences = data.search.sequences.size();
  plan.device_limit = backend.memory_bytes();
  plan.host_limit = device.host_bytes.value_or(available_host_bytes());
  count_work(plan, model, subject, backend, placement_for(device, plan.weights, backend));
  // Weights that stay may leave too little for the longest sequence.
  if (device.weights == "auto" && plan.work.tight() && plan.placement == Placement::resident) {
    count_work(plan, model, subject, backend, choose_placement(plan.weights, 0, plan.host_limit));
  }
  const bool resident = plan.placement == Placement::resident;
  plan.unshared_layer_visits = plan.work.evaluations(Phase::search) * model.config.layers;
  plan.streamed_bytes = resident ? 0 : plan.work.passes() * plan.weights.stored;
  plan.host_weight_bytes = plan.weights.host(plan.placement, devices);
  plan.host_token_bytes = 4 * (data.search.tokens() + (data.holdout ? data.holdout->tokens() : 0));
  plan.disk_bytes = folder_bytes(plan, model.config.layers);
  std::vector<std::int64_t> lengths;
  for (const auto& sequence : data.search.sequences) {
    lengths.push_back(static_cast<std::int64_t>(sequence.size()));
  }
  plan.costs = costs_for(plan, model.config, lengths, backend);
  if (subject.training) {
    plan.training = plan_training(subject.training->options, model, subject.training->subject,
                                  backend, plan.placement, devices);
  }
  plan.startup_seconds = seconds_since_process_start();
  estimate_time(plan);
  return plan;
}

void probe(RunPlan& plan, const Model& model, const SearchSubject& subject, Backend& backend) {
  const TokenSet& tokens = subject.data.search;
  const auto searched = std::ranges::find(plan.work.sweeps, Phase::search, &CountedSweep::phase);
  const CountedSweep& sweep =
      searched == plan.work.sweeps.end() ? plan.work.sweeps.front() : *searched;
  const auto count = static_cast<std::ptrdiff_t>(sweep.cut.waves.front().count);
  const TokenSet wave{tokens.source, {tokens.sequences.begin(), tokens.sequences.begin() + count}};
  plan.costs = measured_costs(model, backend, plan.placement, wave,
                              sweep_memory(backend, plan.weight_bytes));
  plan.measured = true;
  estimate_time(plan);
}

Costs costs_for(const RunPlan& plan, const ModelConfig& config,
                std::span<const std::int64_t> lengths, const Device& backend) {
  if (plan.measured) return plan.costs;
  Costs costs = estimated_costs(config, lengths, backend, plan.placement, plan.threads);
  for (auto& kind : costs.visit) {
    for (double& seconds : kind) seconds /= plan.speed;
  }
  return costs;
}

std::vector<std::string> plan_lines(const RunPlan& plan) {
  const std::size_t waves = plan.work.most_waves();
  const char* about = plan.exact ? "" : "about ";
  std::vector<std::string> lines = {fmt::format(
      "search: {}{} evaluations; {} layer visits, {} without shared prefixes", about,
      count_text(plan.work.evaluations(Phase::search)),
      count_text(plan.work.layer_visits(Phase::search)), count_text(plan.unshared_layer_visits))};
  for (const StrategyPlan& strategy : plan.strategies) {
    lines.push_back(fmt::format(
        "{}: {} step{}, {}{} evaluations, {} layer visits; {}", strategy.name, strategy.steps,
        strategy.steps == 1 ? "" : "s", about, count_text(strategy.evaluations),
        count_text(strategy.layer_visits), format_duration(strategy.seconds)));
  }
  if (const std::int64_t moves = plan.work.evaluations(Phase::refinement); moves > 0) {
    lines.push_back(fmt::format(
        "swaps: up to {} evaluation{} per round, {} (a round moves each F layer of each "
        "target; moves that are predicted to be worse are left out)",
        count_text(moves), moves == 1 ? "" : "s", format_duration(plan.refinement_seconds)));
  }
  if (plan.finds_size) {
    lines.push_back(
        "max-rise: counted for a quarter of the indexers; finding the size takes more searches");
  }
  if (plan.race_confidence) {
    lines.push_back(fmt::format(
        "races: patterns that cannot win at confidence {} are not measured on all sequences; the "
        "counts are without this saving",
        *plan.race_confidence));
  }
  if (plan.training) {
    for (std::string& line : plan_lines(*plan.training)) lines.push_back(std::move(line));
  }
  lines.push_back(fmt::format(
      "weights: {}, {} passes over the layers{}{}", name_of(plan.placement),
      count_text(plan.work.passes()),
      waves > 1 ? fmt::format(" (up to {} waves per pass)", waves) : "",
      plan.streamed_bytes > 0
          ? fmt::format(", {} transferred to the device", bytes_text(plan.streamed_bytes))
          : ""));
  lines.push_back(fmt::format("memory: {} of {}: {}", bytes_text(plan.device_bytes()),
                              bytes_text(plan.device_limit), kinds_text(plan)));
  lines.push_back(fmt::format("host: {} of {} available: stored weights {}, tokens {}",
                              bytes_text(plan.host_bytes()), bytes_text(plan.host_limit),
                              bytes_text(plan.host_weight_bytes),
                              bytes_text(plan.host_token_bytes)));
  lines.push_back(
      fmt::format("time: about {}; dominated by {}", range_text(plan), plan.time.dominating()));
  return lines;
}

void check_fits(const RunPlan& plan, const SearchSubject& subject) {
  if (plan.host_bytes() > plan.host_limit) {
    throw ResourceError({"the weights do not fit the host's memory",
                         fmt::format("--weights {}", name_of(plan.placement)),
                         fmt::format("{} are needed, but only {} are available",
                                     bytes_text(plan.host_bytes()), bytes_text(plan.host_limit)),
                         "--weights disk (keeps only two layers in memory)"});
  }
  if (plan.training) require_fit(*plan.training);
  const CountedSweep* tight = plan.work.tight();
  if (tight == nullptr) return;
  throw ResourceError(
      {"the run does not fit the device's memory",
       std::string(kPhaseNames[static_cast<std::size_t>(tight->phase)]),
       fmt::format(
           "a sequence of {} tokens and one pattern at a time need {}, but only {} may be used",
           subject.data.search.longest(), bytes_text(plan.device_bytes()),
           bytes_text(plan.device_limit)),
       fmt::format("{}a larger --memory-limit or GPU, or shorter sequences",
                   plan.placement == Placement::resident ? "--weights stream or disk, " : "")});
}

Json to_json(const RunPlan& plan) {
  const auto bytes = plan.work.most_bytes();
  Json device{{"weights", plan.weight_bytes}};
  for (std::size_t k = 0; k < kMemoryKinds; ++k) {
    const std::string name(kMemoryNames[k]);
    device[name] = (name == "weights" ? plan.weight_bytes : 0) + bytes[k];
  }
  Json visits = Json::object();
  for (std::size_t v = 0; v < kVisits; ++v) {
    visits[std::string(kVisitNames[v])] = plan.time.compute[v];
  }
  Json strategies = Json::array();
  for (const StrategyPlan& strategy : plan.strategies) {
    strategies.push_back(Json{{"name", strategy.name},
                              {"steps", strategy.steps},
                              {"evaluations", strategy.evaluations},
                              {"layer_visits", strategy.layer_visits},
                              {"seconds", strategy.seconds}});
  }
  return {{"schema", "indexcache-plan/2"},
          {"strategies", strategies},
          {"evaluations_exact", plan.exact},
          {"race_confidence", plan.race_confidence ? Json(*plan.race_confidence) : Json()},
          {"evaluations", plan.work.evaluations(Phase::search)},
          {"layer_visits", plan.work.layer_visits(Phase::search)},
          {"layer_visits_without_sharing", plan.unshared_layer_visits},
          {"refinement_evaluations_per_round", plan.work.evaluations(Phase::refinement)},
          {"refinement_seconds_per_round", plan.refinement_seconds},
          {"passes", plan.work.passes()},
          {"most_waves", plan.work.most_waves()},
          {"weights", name_of(plan.placement)},
          {"streamed_bytes", plan.streamed_bytes},
          {"device_bytes", plan.device_bytes()},
          {"device_limit_bytes", plan.device_limit},
          {"device_bytes_by_kind", device},
          {"host_bytes", plan.host_bytes()},
          {"host_bytes_by_kind",
           {{"weights", plan.host_weight_bytes}, {"tokens", plan.host_token_bytes}}},
          {"disk_bytes", plan.disk_bytes},
          {"fits", plan.work.tight() == nullptr && (!plan.training || plan.training->fits())},
          {"training", plan.training ? to_json(*plan.training) : Json()},
          {"seconds", plan.time.total()},
          {"seconds_by_visit", visits},
          {"seconds_once", plan.time.once},
          {"seconds_first_load", plan.time.first_load},
          {"seconds_streaming", plan.time.streaming},
          {"dominating", plan.time.dominating()},
          {"costs", plan.costs.source},
          {"uncertainty", plan.costs.uncertainty},
          {"scaling", plan.scaling ? to_json(*plan.scaling) : Json()}};
}

}  // namespace indexcache
