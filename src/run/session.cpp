// SPDX-License-Identifier: Apache-2.0
#include "run/session.h"

#include "core/bytes.h"
#include "core/concurrently.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/host_memory.h"
#include "core/thread_count.h"
#include "distill/student_weights.h"
#include "distill/students.h"
#include "search/device_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace indexcache {
namespace {

// Larger waves make a CPU no faster: its products run tile by tile.
constexpr std::int64_t kCpuWaveBytes = std::int64_t{512} << 20;

Precision parse_precision(const std::string& text) {
  if (text == "bf16") return Precision::bf16;
  if (text == "fp4") return Precision::fp4;
  return text == "fp8" ? Precision::fp8 : Precision::fp32;
}

std::optional<Precision> parsed_if_given(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return parse_precision(text);
}

}  // namespace

namespace {

BackendOptions backend_options(const DeviceOptions& options) {
  const auto limit = parse_bytes(options.memory_limit);
  if (!limit && !options.memory_limit.empty()) {
    throw UsageError({fmt::format("invalid size for --memory-limit: \"{}\"", options.memory_limit),
                      "--memory-limit", "", "a number with a unit: 24GiB, 800MiB or 80GB"});
  }
  return {.device = {},
          .compute = parse_precision(options.precision),
          .indexer = parsed_if_given(options.indexer_precision),
          .threads = options.threads,
          .memory_limit = limit};
}

std::vector<DeviceSpec> devices_of(const DeviceOptions& options) {
  return choose_devices(parse_devices(options.device), options.gpus);
}

Backends one(std::unique_ptr<Backend> backend) {
  Backends backends;
  backends.push_back(std::move(backend));
  return backends;
}

// Copies an indexer; values keep their bits, because the types of both devices are the same.
IndexerWeights copy_of(const IndexerWeights& indexer, Backend& from, Backend& to) {
  const auto matrix = [&](const Tensor& tensor) {
    return to.upload_matrix(from.download(tensor), tensor.rows(), tensor.cols());
  };
  const auto row = [&](const Tensor& tensor) {
    return to.upload(from.download(tensor), tensor.rows(), tensor.cols());
  };
  return {matrix(indexer.wq_b), matrix(indexer.wk), row(indexer.k_norm), row(indexer.k_norm_bias),
          matrix(indexer.weights_proj)};
}

}  // namespace

Backends make_backends(const DeviceOptions& options) {
  return make_backends(devices_of(options), backend_options(options), options.mixed);
}

std::unique_ptr<Backend> make_backend(const DeviceOptions& options) {
  return std::move(make_backends({devices_of(options).front()}, backend_options(options)).front());
}

std::vector<std::string> device_names(const Backends& backends) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < backends.size(); ++i) {
    names.push_back(fmt::format("{} {}", backends[i]->is_gpu() ? "GPU" : "CPU", i));
  }
  return names;
}

void check_indexer(const IndexerMethod& method, const ModelConfig& config) {
  if (!method) return;
  if (config.compressed) {
    throw UsageError({fmt::format("HISA is not available for {}", config.family->title),
                      "--indexer",
                      "it chooses blocks of tokens, but this model's indexer chooses entries, each "
                      "of which represents several tokens",
                      "--indexer exact"});
  }
  check_fits(*method, config.index_topk);
}

IndexerMethod indexer_of(const DeviceOptions& options, const ModelConfig& config) {
  const IndexerMethod method = parse_indexer(options.indexer);
  check_indexer(method, config);
  return method;
}

Model open_model(const DeviceOptions& options) {
  parse_indexer(options.indexer);  // what is wrong with it needs no model
  Model model = open_model(options.model, options.mla_norm_eps);
  model.config.indexer = indexer_of(options, model.config);
  return model;
}

void note_of_device(const Device& device, Progress& progress) {
  if (const std::string remark = device.remark(); !remark.empty()) progress.note(remark);
}

void note_of_weights(const Model& model, const Device& device, Progress& progress) {
  if (!device.keeps_fp8()) return;
  const Fp8Count count =
      weight_sizes(model.config, model.checkpoint, model.has_indexer, device.weight_types()).fp8;
  if (count.stored == 0) {
    throw UsageError({"the model has no FP8 weights", "--precision fp8",
                      fmt::format("{} stores none of its projections as F8_E4M3", model.name),
                      device.is_gpu() ? "--precision bf16" : "--precision fp32"});
  }
  if (count.kept == count.stored) return;
  progress.note(
      fmt::format("{} of {} FP8 matrices are dequantized to {}: FP8 products need blocks of 128 x "
                  "128, and rows "
                  "and columns in multiples of 16 (in multiples of 128 for rows of gate and up)",
                  count.stored - count.kept, count.stored, name_of(device.activation())));
}

void warn_of_kinds(const std::string& kinds, Progress& progress,
                   std::vector<std::string>& warnings) {
  if (!is_mixed(kinds)) return;
  warn(progress, warnings,
       fmt::format("--mixed: devices of different kinds compute ({}), so the last bits of losses "
                   "depend on which of them computes what, and a second run may choose otherwise",
                   kinds));
}

void warn_of_reach(const Hisa& hisa, const TokenSet& tokens, Progress& progress,
                   std::vector<std::string>& warnings) {
  if (!hisa.takes_all(tokens.longest())) return;
  warn(progress, warnings,
       fmt::format("{} selects what the exact indexer does: its blocks hold {} tokens, and the "
                   "longest sequence has {}",
                   indexer_text(hisa), count_text(hisa.block * hisa.blocks),
                   count_text(tokens.longest())));
}

void warn_of_model(const Model& model, Progress& progress, std::vector<std::string>& warnings) {
  for (const std::string& warning : model.warnings()) warn(progress, warnings, warning);
}

Placement placement_for(const DeviceOptions& options, const WeightSizes& sizes,
                        const Device& backend) {
  const std::int64_t room = backend.memory_bytes() - backend.uploader_bytes();
  Placement placement =
      choose_placement(sizes, room, options.host_bytes.value_or(available_host_bytes()));
  if (options.weights == "resident") placement = Placement::resident;
  if (options.weights == "stream") placement = Placement::stream;
  if (options.weights == "disk") placement = Placement::disk;
  const std::int64_t needed = sizes.device(placement);
  if (needed < room) return placement;
  const std::int64_t least = sizes.device(Placement::disk);
  throw ResourceError({"the weights do not fit the device's memory",
                       options.memory_limit.empty() ? "--weights " + options.weights
                                                    : "--memory-limit " + options.memory_limit,
                       fmt::format("weights ({}) need {}, but only {} are available",
                                   name_of(placement), bytes_text(needed), bytes_text(room)),
                       least < room
                           ? "--weights stream, or auto"
                           : fmt::format("more than {} of memory{}", bytes_text(least),
                                         backend.is_gpu() && backend.activation() == DType::f32
                                             ? ", or --precision bf16, which takes half"
                                             : "")});
}

SweepMemory sweep_memory(const Device& backend, std::int64_t weight_bytes) {
  SweepMemory memory;
  memory.memory_bytes = std::max<std::int64_t>(backend.memory_bytes() - weight_bytes, 0);
  memory.enforce = true;
  if (!backend.is_gpu()) memory.wave_bytes = kCpuWaveBytes;
  return memory;
}

std::int64_t indexer_bytes(const ModelConfig& config, const Device& backend, std::size_t count) {
  if (count == 0) return 0;
  return static_cast<std::int64_t>(count) * indexer_parameters(config) *
         static_cast<std::int64_t>(size_of(backend.activation()));
}

Session::Session(const Model& model, std::unique_ptr<Backend> backend, const DeviceOptions& options)
    : Session(model, one(std::move(backend)), options) {}

Session::Session(const Model& model, Backends backends, const DeviceOptions& options)
    : model_(model), threads_(options.threads), mixed_(options.mixed), kinds_(kinds_of(backends)) {
  const WeightSizes sizes = weight_sizes(model.config, model.checkpoint, model.has_indexer,
                                         backends.front()->weight_types());
  const auto stored = std::make_shared<StoredLayers>(
      model.checkpoint, sizes, model.config.layers,
      placement_for(options, sizes, *backends.front()), backends.size());
  for (const auto& backend : backends) backend->check(model.config.shape());
  // Each device loads the weights outside the layers, at the same time as the others.
  std::vector<std::unique_ptr<ModelWeights>> weights(backends.size());
  concurrently(backends.size(), [&](std::size_t i) {
    weights[i] = std::make_unique<ModelWeights>(model.config, model.checkpoint, model.has_indexer,
                                                *backends[i], stored);
  });
  const std::vector<std::string> names = device_names(backends);
  for (std::size_t i = 0; i < backends.size(); ++i) {
    devices_.push_back({names[i], std::move(backends[i]), std::move(weights[i])});
    use_.workers.push_back({devices_.back().name});
  }
}

std::int64_t Session::peak_bytes() const {
  std::int64_t peak = 0;
  for (const SessionDevice& device : devices_) {
    peak = std::max(peak, device.backend->memory_use().peak_total);
  }
  return peak;
}

std::int64_t Session::training_memory() const {
  const auto count = static_cast<std::int64_t>(devices());
  return backend().is_gpu() ? backend().memory_bytes() : count * backend().memory_bytes();
}

void Session::add_students(std::size_t device, std::size_t count) {
  use_.workers[device].students += count;
}

void Session::add_training(std::span<const double> before, std::span<const double> after,
                           double seconds) {
  for (std::size_t d = 0; d < before.size(); ++d) {
    use_.workers[d].busy_seconds += after[d] - before[d];
  }
  use_.seconds += seconds;
}

// The first device has the indexers; the others get copies, which the evaluators share.
std::shared_ptr<const SegmentIndexers> Session::indexers_on(SessionDevice& device,
                                                            const SegmentIndexers* of_first) {
  if (of_first == nullptr) return nullptr;
  if (&device == &devices_.front()) return {std::shared_ptr<void>(), of_first};
  if (auto copies = device.indexers.lock()) return copies;
  std::map<PatternSegment, IndexerWeights> indexers;
  for (const auto& [segment, indexer] : of_first->all()) {
    indexers[segment] = copy_of(indexer, backend(), *device.backend);
  }
  auto copies = std::make_shared<const SegmentIndexers>(std::move(indexers));
  device.indexers = copies;
  return copies;
}

SweepRates Session::rates() const {
  const SessionDevice& device = devices_.front();
  const Placement placement = device.weights->placement();
  const auto costs = [this, placement](std::int64_t length) {
    return estimated_costs(model_.config, std::span(&length, 1), *devices_.front().backend,
                           placement, thread_count(threads_));
  };
  const double pass_seconds =
      placement == Placement::resident
          ? 0
          : costs(1).stream_byte * static_cast<double>(device.weights->sizes().stored);
  return {costs, pass_seconds, devices_.size()};
}

SweepMemory Session::memory_with(const SweepGoal& goal) {
  const std::size_t trained = goal.indexers == nullptr ? 0 : goal.indexers->all().size();
  return sweep_memory(backend(), weight_bytes() + indexer_bytes(model_.config, backend(), trained));
}

std::unique_ptr<SweepWorker> Session::worker_on(SessionDevice& device, const TokenSet& tokens,
                                                const SweepGoal& goal, SweepMemory memory,
                                                const ModelConfig& config) {
  SweepGoal own = goal;
  std::shared_ptr<const SegmentIndexers> indexers = indexers_on(device, goal.indexers);
  own.indexers = indexers.get();
  return std::make_unique<DeviceWorker>(
      device.name, *device.backend,
      SweepEvaluator(config, *device.weights, *device.backend, tokens, memory, own),
      std::move(indexers));
}

// Ranks that serve have a thread per device, which may ask at the same time.
const ModelConfig& Session::config_with(const IndexerMethod& indexer, bool dense) {
  const auto matches = [&](const ModelConfig& config) {
    return config.indexer == indexer && config.dense == dense;
  };
  if (matches(model_.config)) return model_.config;
  const std::lock_guard lock(configs_mutex_);
  const auto found = std::ranges::find_if(configs_, matches);
  if (found != configs_.end()) return *found;
  ModelConfig config = model_.config;
  config.indexer = indexer;
  config.dense = dense;
  backend().check(config.shape());
  return configs_.emplace_back(std::move(config));
}

SpreadEvaluator Session::evaluator(const TokenSet& tokens, const SweepGoal& goal) {
  return evaluator(tokens, goal, model_.config.indexer);
}

SpreadEvaluator Session::evaluator(const TokenSet& tokens, const SweepGoal& goal,
                                   const IndexerMethod& indexer) {
  return evaluator(tokens, goal, config_with(indexer));
}

SpreadEvaluator Session::evaluator(const TokenSet& tokens, const SweepGoal& goal,
                                   const ModelConfig& config) {
  const SweepMemory memory = memory_with(goal);
  std::vector<std::unique_ptr<SweepWorker>> workers;
  for (SessionDevice& device : devices_) {
    workers.push_back(worker_on(device, tokens, goal, memory, config));
  }
  if (ranks_ != nullptr && goal.indexers == nullptr) {
    const RankGoal remote{tokens.fingerprint(), goal.objective, goal.reference, config.indexer,
                          config.dense};
    for (const RemoteDevice& device : ranks_->devices()) {
      workers.push_back(ranks_->worker(device, remote));
    }
  }
  return spread(std::move(workers), tokens, goal, memory, config);
}

SpreadEvaluator Session::spread(std::vector<std::unique_ptr<SweepWorker>> workers,
                                const TokenSet& tokens, const SweepGoal& goal, SweepMemory memory,
                                const ModelConfig& config) {
  SweepPlanner planner(config, backend(), tokens, memory, goal.reference, goal.indexers);
  return {std::move(workers), std::move(planner), rates(),
          averaged_tokens(tokens, goal.objective, model_.config.first_selecting_position()), use_};
}

void Session::add(Ranks& ranks) {
  ranks_ = &ranks;
  std::vector<std::string> kinds = ranks.kinds();
  kinds.push_back(kinds_);
  kinds_ = kinds_of(kinds);
  for (const RemoteDevice& device : ranks.devices()) use_.workers.push_back({device.name});
}

int Session::serve(Ranks& ranks, const std::vector<const TokenSet*>& token_sets) {
  // One thread per device comes here, and each has evaluators of its own.
  std::vector<std::vector<std::pair<RankGoal, std::unique_ptr<SweepWorker>>>> known(
      devices_.size());
  const auto worker_of = [&](std::size_t device, const RankGoal& goal) -> SweepWorker& {
    auto& workers = known[device];
    const auto found =
        std::ranges::find_if(workers, [&](const auto& worker) { return worker.first == goal; });
    if (found != workers.end()) return *found->second;
    const auto tokens = std::ranges::find_if(
        token_sets, [&](const TokenSet* set) { return set->fingerprint() == goal.tokens_sha256; });
    if (tokens == token_sets.end()) {
      throw InternalError({"a task is of unknown sequences", goal.tokens_sha256, "", ""});
    }
    const SweepGoal sweep{goal.objective, goal.reference, nullptr};
    workers.emplace_back(goal, worker_on(devices_[device], **tokens, sweep, memory_with(sweep),
                                         config_with(goal.indexer, goal.dense)));
    return *workers.back().second;
  };
  return ranks.serve(devices_.size(), worker_of);
}

SpreadEvaluator Session::evaluator(const TokenSet& tokens, std::span<const TrainedIndexer> indexers,
                                   std::int64_t taken_bytes) {
  const SweepMemory memory =
      sweep_memory(backend(), weight_bytes() + taken_bytes +
                                  indexer_bytes(model_.config, backend(), indexers.size()));
  std::vector<std::unique_ptr<SweepWorker>> workers;
  for (SessionDevice& device : devices_) {
    std::map<std::size_t, IndexerWeights> uploaded;
    for (const TrainedIndexer& indexer : indexers) {
      uploaded[static_cast<std::size_t>(indexer.layer)] =
          upload_indexer(*device.backend, model_.config, indexer);
    }
    auto weights = std::make_shared<StudentWeights>(*device.weights, std::move(uploaded));
    workers.push_back(std::make_unique<DeviceWorker>(
        device.name, *device.backend,
        SweepEvaluator(model_.config, *weights, *device.backend, tokens, memory), weights));
  }
  return spread(std::move(workers), tokens, {}, memory, model_.config);
}

SpreadEvaluator Session::evaluator(const TokenSet& tokens, Progress& progress, std::string label,
                                   const IndexerMethod& indexer) {
  return reporting(evaluator(tokens, {}, indexer), progress, std::move(label));
}

SpreadEvaluator Session::dense_evaluator(const TokenSet& tokens, Progress& progress,
                                         std::string label) {
  return reporting(evaluator(tokens, {}, config_with(std::nullopt, true)), progress,
                   std::move(label));
}

SpreadEvaluator Session::reporting(SpreadEvaluator spread, Progress& progress, std::string label) {
  spread.set_progress([&progress, label = std::move(label)](std::size_t done, std::size_t total) {
    progress.update(label, done, total);
  });
  return spread;
}

}  // namespace indexcache
