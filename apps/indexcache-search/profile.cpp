// SPDX-License-Identifier: Apache-2.0
// profile: where the time of a model goes, what patterns save, and what that means for requests of
// given lengths.
#include "bench.h"
#include "commands.h"
#include "core/console.h"
#include "core/count_text.h"
#include "core/created.h"
#include "core/error.h"
#include "core/hisa.h"
#include "io/files.h"
#include "io/json_text.h"
#include "option_values.h"
#include "pattern_spec.h"
#include "present/profile_text.h"
#include "profile/contexts.h"
#include "profile/decode.h"
#include "profile/device_prefill.h"
#include "profile/lengths.h"
#include "profile/profile_json.h"
#include "search/baselines.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

namespace indexcache {
namespace {

struct ProfileOptions {
  BenchOptions bench;  // model and device
  std::vector<std::string> patterns;
  std::vector<std::int64_t> contexts;
  std::vector<std::int64_t> decode_contexts;
  std::string lengths;
  std::string output;
};

// Dense attention, for which patterns mean nothing; otherwise every indexer, the patterns that were
// asked for, and uniform interleaving with as many F layers
// as the last of them, or a quarter.
std::vector<ProfiledPattern> profiled_patterns(const std::vector<std::string>& specs,
                                               const BenchShape& shape) {
  const std::vector<bool>& has_indexer = shape.has_indexer;
  const Pattern full = Pattern::from_full_layers(has_indexer);
  if (shape.config.dense) return {{std::string(kDense), full}};
  std::vector<ProfiledPattern> patterns = {{"full", full}};
  const auto add = [&](const std::string& name, const Pattern& pattern) {
    const bool is_known =
        std::ranges::find(patterns, pattern, &ProfiledPattern::pattern) != patterns.end();
    if (!is_known) patterns.push_back({name, pattern});
  };
  for (const std::string& spec : specs)
    add(spec, parse_pattern_spec(spec, has_indexer, shape.config.layer_numbers()));
  const std::size_t size = patterns.size() > 1 ? patterns.back().pattern.full_count()
                                               : std::max<std::size_t>(full.full_count() / 4, 1);
  add(fmt::format("uniform, {} F", size), uniform_of_size(full, size));
  return patterns;
}

// Dense attention selects nowhere; its time grows in the same way from the first token on.
std::int64_t first_selecting(const ModelConfig& config) {
  return config.dense ? 1 : config.first_selecting_position();
}

std::vector<std::int64_t> sorted(const std::vector<std::int64_t>& contexts) {
  const std::set<std::int64_t> once(contexts.begin(), contexts.end());
  return {once.begin(), once.end()};
}

// Throws for a context or prompt that the model does not take.
void check_limits(const std::vector<std::int64_t>& contexts, const std::optional<Lengths>& lengths,
                  const ModelConfig& config) {
  const std::int64_t most = config.max_positions;
  if (lengths && lengths->longest() > most) {
    throw InputError({"a prompt is longer than the model takes",
                      fmt::format("{}:{}", lengths->file.string(), lengths->prompts.back().line),
                      fmt::format("{} tokens; max_position_embeddings is {}",
                                  count_text(lengths->longest()), count_text(most)),
                      "remove such requests from the file"});
  }
  if (contexts.empty() || contexts.back() <= most) return;
  throw UsageError({fmt::format("cannot time a context of {} tokens", contexts.back()), "--context",
                    fmt::format("max_position_embeddings is {}", most), "shorter contexts"});
}

// Contexts to measure; those of the default that do not fit the device are left out.
std::vector<std::int64_t> chosen_contexts(const ProfileOptions& options,
                                          const std::optional<Lengths>& lengths,
                                          const ModelConfig& config, const DevicePrefill& prefill,
                                          Progress& progress, std::vector<std::string>& warnings) {
  if (!options.contexts.empty()) return sorted(options.contexts);
  const ContextLimits limits{first_selecting(config), config.max_positions};
  if (lengths) return default_contexts(limits, std::pair(lengths->shortest(), lengths->longest()));
  std::vector<std::int64_t> fitting;
  for (const std::int64_t context : default_contexts(limits)) {
    if (fitting.empty() || prefill.fits(context)) {
      fitting.push_back(context);
    } else {
      warn(progress, warnings,
           fmt::format("{} tokens do not fit the device and were not measured",
                       count_text(context)));
    }
  }
  return fitting;
}

// Says it if stamps changed a pass too much to take off what they added, for the pass that is
// farthest off.
void warn_of_parts(const Profile& profile, Progress& progress, std::vector<std::string>& warnings) {
  double farthest = kStampsTolerance;
  std::string text;
  for (const ProfilePoint& point : profile.prefill) {
    for (std::size_t p = 0; p < point.times.size(); ++p) {
      const double ratio = point.times[p].stamped_seconds / point.times[p].seconds;
      if (std::abs(ratio - 1) <= farthest) continue;
      farthest = std::abs(ratio - 1);
      text = fmt::format("{} tokens, {}: with stamps a pass takes {:.1f}% of what it takes without",
                         count_text(point.context), profile.patterns[p].name, 100 * ratio);
    }
  }
  if (text.empty()) return;
  warn(progress, warnings, text + "; measure again on an idle machine, or with a larger --repeat");
}

Profile measure(const ProfileOptions& options, BenchModel& model,
                std::vector<ProfiledPattern> patterns, const std::optional<Lengths>& lengths,
                Progress& progress) {
  const ModelConfig& config = model.config();
  Profile profile{
      .file = {},
      .tool_version = kToolVersion,
      .created_at = created_time(),
      .model = {.name = model.name(),
                .index_topk = config.index_topk,
                .index_heads = config.index_heads,
                .index_head_dim = config.index_head_dim,
                .indexer = config.dense ? std::string(kNoIndexer) : indexer_text(config.indexer),
                .config_sha256 =
                    model.shape().model ? model.shape().model->config_sha256 : std::string()},
      .device = model.kinds(),
      .gpu = model.backend().is_gpu(),
      .repeat = options.bench.repeat,
      .patterns = std::move(patterns),
      .prefill = {},
      .decode = {},
      .traffic = std::nullopt,
      .warnings = {}};
  if (!model.resident()) {
    warn(progress, profile.warnings,
         "weights do not stay on the device: a pass waits for them, which the gaps show");
  }
  DevicePrefill timer(config, model.weights(), model.backend(), model.memory());
  const std::vector<std::int64_t> contexts =
      chosen_contexts(options, lengths, config, timer, progress, profile.warnings);
  std::vector<Pattern> measured;
  for (const ProfiledPattern& one : profile.patterns) measured.push_back(one.pattern);
  profile.prefill = profile_prefill(
      timer, measured, contexts, profile.repeat,
      [&](std::size_t done, std::size_t all) { progress.update("measuring prefills", done, all); });
  const DecodeSubject steps{config, model.weights(), model.backend(), model.memory().memory_bytes};
  profile.decode = profile_decode(
      steps, measured, sorted(options.decode_contexts), sorted(options.bench.batches),
      profile.repeat,
      [&](std::size_t done, std::size_t all) { progress.update("measuring decoding", done, all); });
  if (lengths) {
    profile.traffic =
        compose_traffic(*lengths, time_curves(profile.prefill, first_selecting(config)),
                        contexts.front(), contexts.back());
  }
  warn_of_parts(profile, progress, profile.warnings);
  return profile;
}

// Before anything is measured: prompts that --context does not reach.
void check_reach(const ProfileOptions& options, const std::optional<Lengths>& lengths) {
  if (!lengths || options.contexts.empty()) return;
  const auto [least, most] = std::ranges::minmax(options.contexts);
  compose_traffic(*lengths, {}, least, most);
}

int run_profile(ProfileOptions options, const CommonOptions& common) {
  BenchOptions& bench = options.bench;
  bench.kind = "profile";
  // Without MODEL the first argument is a pattern.
  if (!bench.synthetic.empty() && !bench.device.model.empty()) {
    options.patterns.insert(options.patterns.begin(), std::exchange(bench.device.model, ""));
  }
  std::optional<Lengths> lengths;
  if (!options.lengths.empty()) lengths = read_lengths(options.lengths);
  check_reach(options, lengths);
  if (bench.device.indexer == kNoIndexer &&
      !(options.patterns.empty() && options.decode_contexts.empty())) {
    throw UsageError({"dense attention has no patterns, and no steps of decoding", "--indexer none",
                      "without an indexer, every query attends to all earlier tokens",
                      "leave out patterns and --decode"});
  }
  if (!options.output.empty()) require_writable(options.output);
  BenchShape shape = read_shape(bench);
  const bool positions = shape.config.dense || !options.decode_contexts.empty();
  if (positions && shape.config.compressed) {
    throw UsageError({fmt::format("profile does not time this for {}", shape.config.family->title),
                      shape.config.dense ? "--indexer none" : "--decode",
                      "its attention reads compressed entries, not every position",
                      "prefills of patterns only"});
  }
  check_limits(sorted(options.contexts), lengths, shape.config);
  for (const std::int64_t context : options.decode_contexts) check_context(shape.config, context);
  std::vector<ProfiledPattern> patterns = profiled_patterns(options.patterns, shape);
  Progress progress(progress_style(bench.progress, common));
  BenchModel model(std::move(shape), bench, progress);
  note_of_device(model.backend(), progress);
  const Profile profile = measure(options, model, std::move(patterns), lengths, progress);
  progress.clear();
  const std::string document = json_text(to_json(profile), 1) + "\n";
  if (!options.output.empty()) write_file(options.output, document);
  write_output("{}", common.json ? document : profile_text(profile));
  return 0;
}

void add_profile_options(CLI::App& command, ProfileOptions& options) {
  {
    const OptionGroup group(command, "Model and device");
    command
        .add_option("patterns", options.patterns,
                    "Patterns to measure next to every indexer and uniform interleaving: "
                    "uniform:4, a string of F and S, a pattern file, or a run folder")
        ->type_name("PATTERN");
    add_synthetic_option(command, options.bench);
  }
  const OptionGroup group(command, "Profile");
  in_range(command
               .add_option("--context", options.contexts,
                           "Lengths to measure (default: 10,000 to 200,000 tokens as far as model "
                           "and device take them; with --lengths, those that cover the file)")
               ->delimiter(','),
           "N", std::int64_t{1}, std::int64_t{1} << 24);
  in_range(command
               .add_option("--decode", options.decode_contexts,
                           "Also time steps of decoding, for sequences of these lengths")
               ->delimiter(','),
           "N", std::int64_t{2}, std::int64_t{1} << 24);
  in_range(command
               .add_option("--batch", options.bench.batches,
                           "Number of sequences that get a token in a step of decoding")
               ->delimiter(','),
           "N", std::int64_t{1}, std::int64_t{1} << 16)
      ->capture_default_str();
  command
      .add_option("--lengths", options.lengths,
                  "Lengths of your requests, from which expected times to the first token are "
                  "composed: JSON lines with prompt_tokens, or CSV with a column of that name, or "
                  "with length,count")
      ->type_name("FILE");
  in_range(command.add_option("--repeat", options.bench.repeat,
                              "Number of passes of each kind (the median is reported)"),
           "N", 1, 1000)
      ->capture_default_str();
  command
      .add_option("-o,--output", options.output,
                  "File to write, such as RUN/profile.json, which report and check then read")
      ->type_name("FILE");
}

}  // namespace

Command add_profile(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<ProfileOptions>();
  options->bench.repeat = 3;
  CLI::App* command = app.add_subcommand(
      "profile", "Measure where the time of a prefill goes by context, and what patterns save");
  add_device_options(*command, options->bench.device, options->bench.progress);
  add_indexer_option(*command, options->bench.device,
                     "How tokens are selected: exact, hisa, or hisa:block=128,blocks=64 with the "
                     "size of a block of keys and how many a query chooses; none: attention to all "
                     "earlier tokens, in place of patterns",
                     IndexerChoice::with_none);
  add_profile_options(*command, *options);
  add_common_options(*command, common);
  return {command,
          {},
          {{"what the pattern of a run saves, for its report",
            "profile MODEL run --precision bf16 -o run/profile.json"},
           {"what it is worth for the prompts of last week",
            "profile MODEL run --precision bf16 --lengths requests.jsonl"},
           {"the shape of a model without its weights",
            "profile --synthetic configs/glm-5.yaml uniform:4 --precision fp8 --context 65536"}},
          [options, &common] { return run_profile(*options, common); }};
}

}  // namespace indexcache
