// SPDX-License-Identifier: Apache-2.0
// inspect: what a checkpoint is, from config.json and headers; weights may be absent.
#include "commands.h"
#include "core/console.h"
#include "core/count_text.h"
#include "device_options.h"
#include "inspect_engines.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "io/json_text.h"
#include "io/weight_files.h"
#include "model/indexer_folder.h"
#include "model/tensor_registry.h"
#include "model/weight_format.h"
#include "option_values.h"
#include "result/parts_json.h"
#include "run/provenance.h"
#include "search/costs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <utility>

namespace indexcache {
namespace {

struct InspectOptions {
  std::string model;  // or a prepared calibration file
  std::int64_t sequence = 0;
  std::string tokenizer;
  std::string overrides;
  std::optional<double> mla_norm_eps;
};

// Stored bytes by dtype.
std::map<std::string, std::int64_t> bytes_by_dtype(const Checkpoint& checkpoint) {
  std::map<std::string, std::int64_t> bytes;
  for (const auto& shard : checkpoint.shards()) {
    for (const auto& [name, tensor] : shard->tensors()) {
      bytes[std::string(tensor.type())] += tensor.bytes;
    }
  }
  return bytes;
}

// A model, or as much of one as can be read.
struct Inspected {
  Model model;
  bool checked = false;       // everything that a search needs is there
  bool knows_owners = false;  // or has_indexer is what config.json says
  std::string obstacle;       // why nothing can be searched; empty if `checked`
};

// A model of which only config.json and the names of tensors can be used.
Inspected unchecked(const std::filesystem::path& folder, ModelConfig config, Checkpoint checkpoint,
                    std::vector<bool> owners, const std::string& obstacle) {
  const bool known = std::ranges::count(owners, true) > 0;
  std::vector<bool> has_indexer = known ? std::move(owners) : config.native_full;
  return {.model = {.config = std::move(config),
                    .checkpoint = std::move(checkpoint),
                    .has_indexer = std::move(has_indexer),
                    .name = model_name(folder),
                    .revision = model_revision(folder),
                    .config_sha256 = sha256(read_file(folder / "config.json")),
                    .tokenizer_sha256 = {}},
          .knows_owners = known,
          .obstacle = obstacle};
}

// What holds for each layer, for each letter of a pattern.
std::vector<bool> of_letters(const std::vector<bool>& of_layers, const LayerNumbers& numbers) {
  if (numbers.are_all()) return of_layers;
  std::vector<bool> letters;
  for (const std::size_t layer : numbers.list()) letters.push_back(of_layers[layer]);
  return letters;
}

Inspected open_to_inspect(const InspectOptions& options) {
  const std::filesystem::path folder = model_folder(options.model);
  ModelConfig config = read_config(folder, options.mla_norm_eps);
  const WeightFiles files = find_weight_files(folder);
  if (!files.readable()) {
    return unchecked(folder, std::move(config), Checkpoint(folder, {}), {},
                     files.others.empty() ? "there are no weights"
                                          : fmt::format("{}; {}", files.others, files.remedy));
  }
  try {
    return {.model = open_model(folder, options.mla_norm_eps),
            .checked = true,
            .knows_owners = true,
            .obstacle = {}};
  } catch (const UnreadFormat& error) {
    const auto layers = static_cast<std::size_t>(config.layers);
    const LayerNumbers numbers = config.layer_numbers();
    return unchecked(folder, std::move(config), Checkpoint(folder),
                     of_letters(indexer_owners(stored_names(folder), layers), numbers),
                     fmt::format("{}: {}", error.problem().what, error.problem().why));
  }
}

void describe_config(const ModelConfig& c, Json& json) {
  json["hidden"] = c.hidden;
  json["vocabulary"] = c.vocabulary;
  json["attention_heads"] = c.heads;
  json["q_lora_rank"] = c.q_lora_rank;
  json["kv_lora_rank"] = c.kv_lora_rank;
  json["qk_nope_head_dim"] = c.qk_nope_head_dim;
  json["qk_rope_head_dim"] = c.qk_rope_head_dim;
  json["v_head_dim"] = c.v_head_dim;
  json["rope"] = c.yarn ? "yarn" : "default";
  json["rope_theta"] = c.rope_theta;
  if (c.compressed) {
    json["sliding_window"] = c.compressed->window;
    json["compress_ratios"] = c.compressed->ratios;
    json["hash_layers"] = c.hash_layers;
  }
  if (c.streams) json["residual_streams"] = c.streams->count;
  json["indexer_rope"] = c.index_rope == RopeLayout::interleaved ? "interleaved" : "half-split";
  json["max_position_embeddings"] = c.max_positions;
  json["routed_experts"] = c.routed_experts;
  json["experts_used"] = c.router.experts_used;
  json["shared_experts"] = c.shared_experts;
  json["moe_layers"] = std::ranges::count(c.moe_layer, true);
}

// How much of a prefill the indexers take, at lengths where they choose, and how much faster a
// quarter of them would be.
Json indexer_shares(const ModelConfig& config, const std::vector<bool>& has_indexer) {
  Json shares = Json::array();
  for (const std::int64_t tokens : {8192, 32768, 131072}) {
    if (tokens > config.max_positions || tokens <= config.index_topk) continue;
    const double share = indexer_share(config, has_indexer, tokens);
    shares.push_back(
        Json{{"tokens", tokens}, {"share", share}, {"quarter_speed_up", 1 / (1 - 0.75 * share)}});
  }
  return shares;
}

// Keys of what is not known are left out.
Json describe(const Inspected& seen) {
  const Model& model = seen.model;
  const ModelConfig& c = model.config;
  Json json = to_json(summarize(model));
  if (!seen.knows_owners) json.erase("indexer_layers");
  if (!model.revision.empty()) json["revision"] = model.revision;
  if (seen.knows_owners) json["baseline"] = model.baseline().text();
  json["indexer_share"] = indexer_shares(c, model.has_indexer);
  describe_config(c, json);
  if (const std::string trained = trained_pattern(seen.model.checkpoint.folder());
      !trained.empty()) {
    json["indexers_trained_for"] = trained;
  }
  if (seen.checked) json["parameters"] = parameter_count(c, model.checkpoint, model.has_indexer);
  if (!model.checkpoint.shards().empty()) {
    json["shards"] = model.checkpoint.shards().size();
    json["tensors"] = model.checkpoint.tensor_count();
    json["bytes"] = model.checkpoint.total_bytes();
    json["bytes_by_dtype"] = bytes_by_dtype(model.checkpoint);
  } else {
    json.erase("weights_layout_sha256");
  }
  if (!seen.checked) json.erase("quantization");
  if (!c.sharing_problem.empty()) json["sharing_problem"] = c.sharing_problem;
  json["searchable"] = seen.checked;
  if (!seen.checked) json["obstacle"] = seen.obstacle;
  json["unread_tensors"] = model.unread_tensors.size();
  json["warnings"] = model.warnings();
  return json;
}

void print_line(const char* label, const std::string& text) {
  write_output("{:<13}{}\n", label, text);
}

double mebibytes(const Json& bytes) {
  return bytes.get<double>() / 0x1p20;
}

// Which layers the letters of a pattern are, if not all.
std::string numbers_text(const Json& d) {
  if (!d.contains("pattern_layers")) return "";
  return fmt::format(" that could have one: {}",
                     fmt::join(d["pattern_layers"].get<std::vector<std::size_t>>(), ", "));
}

void print_owners(const Json& d, const std::string& baseline) {
  const bool known = d.contains("indexer_layers");
  if (known) {
    print_line("own indexer", fmt::format("{} of {} layers{}", d["indexer_layers"].size(),
                                          d["layers"].get<int>(), numbers_text(d)));
    print_line("", baseline);
  }
  if (d.contains("indexers_trained_for")) {
    print_line("trained for", d["indexers_trained_for"].get<std::string>());
  }
  if (!known || d["existing_indexer_types"] != baseline) {
    print_line("config says", d["existing_indexer_types"].get<std::string>());
  }
  if (d.contains("sharing_problem")) {
    print_line("config says", "no usable schedule: " + d["sharing_problem"].get<std::string>());
  }
}

void print_stored(const Json& d) {
  if (d.contains("parameters")) {
    print_line("parameters", fmt::format("{:.2f} M", d["parameters"].get<double>() / 1e6));
  }
  if (!d.contains("bytes")) return;
  std::string dtypes;
  for (const auto& [name, bytes] : d["bytes_by_dtype"].items()) {
    dtypes += fmt::format("{}{} {:.1f} MiB", dtypes.empty() ? "" : ", ", name, mebibytes(bytes));
  }
  const int files = d["shards"].get<int>();
  print_line("stored",
             fmt::format("{:.1f} MiB in {} tensors, {} file{} ({})", mebibytes(d["bytes"]),
                         d["tensors"].get<int>(), files, files == 1 ? "" : "s", dtypes));
}

// When sharing pays (docs/when-to-share.md).
void print_shares(const Json& d) {
  const char* label = "prefill";
  for (const Json& at : d["indexer_share"]) {
    print_line(
        std::exchange(label, ""),
        fmt::format("of {} tokens: about {:.0f}% in indexers; with a quarter of them {:.2f} times "
                    "as fast",
                    count_text(at["tokens"].get<std::int64_t>()), 100 * at["share"].get<double>(),
                    at["quarter_speed_up"].get<double>()));
  }
  if (!d["indexer_share"].empty()) print_line("", "(estimated for one H200 in FP8)");
}

void print_mla(const Json& d) {
  print_line(
      "attention",
      fmt::format("MLA, {} heads, q rank {}, kv rank {}, head dims {}+{}/{}, rope {} theta {}",
                  d["attention_heads"].get<int>(), d["q_lora_rank"].get<int>(),
                  d["kv_lora_rank"].get<int>(), d["qk_nope_head_dim"].get<int>(),
                  d["qk_rope_head_dim"].get<int>(), d["v_head_dim"].get<int>(),
                  d["rope"].get<std::string>(), d["rope_theta"].get<double>()));
}

void print_text(const Json& d, const Pattern& baseline) {
  print_line("model", fmt::format("{} ({})", d["name"].get<std::string>(),
                                  d["architecture"].get<std::string>()));
  if (d.contains("revision")) print_line("revision", d["revision"].get<std::string>());
  const Json& decoder_layers = d.contains("decoder_layers") ? d["decoder_layers"] : d["layers"];
  print_line("layers", fmt::format("{} decoder layers, {} with experts, {} MTP layers ignored",
                                   decoder_layers.get<int>(), d["moe_layers"].get<int>(),
                                   d["nextn_layers_excluded"].get<int>()));
  if (d.contains("compress_ratios")) {
    print_line("attention",
               fmt::format("{} heads, q rank {}, head dim {} with {} rotated, over a "
                           "window of {} and entries",
                           d["attention_heads"].get<int>(), d["q_lora_rank"].get<int>(),
                           d["v_head_dim"].get<int>(), d["qk_rope_head_dim"].get<int>(),
                           d["sliding_window"].get<int>()));
  } else {
    print_mla(d);
  }
  print_line("indexer", fmt::format("{} heads x {}, top-{}, rope {}", d["index_heads"].get<int>(),
                                    d["index_head_dim"].get<int>(), d["index_topk"].get<int>(),
                                    d["indexer_rope"].get<std::string>()));
  print_owners(d, baseline.text());
  print_stored(d);
  print_shares(d);
  print_readings(d["engines"]);
  for (const Json& warning : d["warnings"]) {
    write_output("warning: {}\n", warning.get<std::string>());
  }
  if (!d["searchable"].get<bool>()) {
    write_output("warning: run, eval and overlap cannot use this folder: {}\n",
                 d["obstacle"].get<std::string>());
    return;
  }
  // A ratio counts all layers, so it is no help if only some of them have an indexer.
  const std::size_t owners = baseline.full_count();
  const std::string keep = owners == baseline.layers() ? "1/4" : std::to_string((owners + 1) / 2);
  write_output(
      "\nEvery F but the first under \"own indexer\" can become S. To find out which ones should:\n"
      "  indexcache-search run MODEL --calibration FILE --keep {} --output DIR\n",
      keep);
}

int run_inspect(const InspectOptions& options, const CommonOptions& common) {
  if (std::filesystem::path(options.model).extension() == ".json") {
    return inspect_config(options.model, options.overrides, common.json);
  }
  if (std::filesystem::is_regular_file(options.model)) {
    return inspect_tokens(options.model, options.sequence, options.tokenizer, common);
  }
  const Inspected seen = open_to_inspect(options);
  Json description = describe(seen);
  const std::string config = seen.model.checkpoint.folder() / "config.json";
  description["engines"] = engine_readings(
      parse_foreign_json(read_file(config), config), parse_overrides(options.overrides),
      seen.knows_owners ? seen.model.has_indexer : std::vector<bool>(), config);
  if (common.json) {
    write_output("{}\n", json_text(description, 1));
  } else {
    print_text(description, seen.model.baseline());
  }
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "Show what is in a model or in a calibration file, and how engines read the model");
  {
    const OptionGroup group(*command, "Model");
    command
        ->add_option(
            "model", options->model,
            "Folder of a Hugging Face checkpoint, a config.json, or an .h5 file written by prepare")
        ->type_name("MODEL|FILE");
    command
        ->add_option("--override", options->overrides,
                     "Keys passed to an engine on its command line, which replace those of "
                     "config.json")
        ->type_name("JSON");
    command
        ->add_option("--mla-norm-eps", options->mla_norm_eps,
                     "Epsilon of the norms of the query and key-value latents")
        ->type_name("EPS");
  }
  {
    const OptionGroup group(*command, "Calibration file");
    CLI::Validator at_least_0 = CLI::NonNegativeNumber;
    command->add_option("--sequence", options->sequence, "Sequence to show")
        ->type_name("N")
        ->check(at_least_0.description(""))
        ->capture_default_str();
    command
        ->add_option("--tokenizer", options->tokenizer,
                     "Tokenizer to decode with (default: the one that the file was made with)")
        ->type_name("FILE");
  }
  add_common_options(*command, common);
  return {
      command,
      {"model"},
      {{"which layers have an indexer, and what each engine makes of the model", "inspect MODEL"},
       {"what an override would do",
        R"(inspect MODEL/config.json --override '{"index_topk_freq": 4}')"}},
      [options, &common] { return run_inspect(*options, common); }};
}

}  // namespace indexcache
