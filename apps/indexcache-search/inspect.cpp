// SPDX-License-Identifier: Apache-2.0
// inspect: what a checkpoint is, from its headers alone.
#include "commands.h"
#include "device_options.h"
#include "inspect_engines.h"
#include "io/files.h"
#include "result/parts_json.h"
#include "run/provenance.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <map>

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
      bytes[std::string(name_of(tensor.dtype))] += tensor.bytes;
    }
  }
  return bytes;
}

Json describe(const Model& model) {
  const ModelConfig& c = model.config;
  Json json = to_json(summarize(model));
  json["baseline"] = model.baseline().text();
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
  json["indexer_rope"] = c.index_rope == RopeLayout::interleaved ? "interleaved" : "half-split";
  json["max_position_embeddings"] = c.max_positions;
  json["routed_experts"] = c.routed_experts;
  json["experts_used"] = c.router.experts_used;
  json["shared_experts"] = c.shared_experts;
  json["moe_layers"] = std::ranges::count(c.moe_layer, true);
  json["parameters"] = parameter_count(c, model.checkpoint, model.has_indexer);
  json["shards"] = model.checkpoint.shards().size();
  json["tensors"] = model.checkpoint.tensor_count();
  json["bytes"] = model.checkpoint.total_bytes();
  json["bytes_by_dtype"] = bytes_by_dtype(model.checkpoint);
  if (!c.sharing_problem.empty()) json["sharing_problem"] = c.sharing_problem;
  return json;
}

void print_line(const char* label, const std::string& text) {
  fmt::print("{:<13}{}\n", label, text);
}

double mebibytes(const Json& bytes) {
  return bytes.get<double>() / 0x1p20;
}

void print_text(const Json& d, const Pattern& baseline) {
  const auto owners = d["indexer_layers"].size();
  print_line("model", fmt::format("{} ({})", d["name"].get<std::string>(),
                                  d["architecture"].get<std::string>()));
  print_line("layers", fmt::format("{} decoder layers, {} with experts, {} MTP layers ignored",
                                   d["layers"].get<int>(), d["moe_layers"].get<int>(),
                                   d["nextn_layers_excluded"].get<int>()));
  print_line(
      "attention",
      fmt::format("MLA, {} heads, q rank {}, kv rank {}, head dims {}+{}/{}, rope {} theta {}",
                  d["attention_heads"].get<int>(), d["q_lora_rank"].get<int>(),
                  d["kv_lora_rank"].get<int>(), d["qk_nope_head_dim"].get<int>(),
                  d["qk_rope_head_dim"].get<int>(), d["v_head_dim"].get<int>(),
                  d["rope"].get<std::string>(), d["rope_theta"].get<double>()));
  print_line("indexer", fmt::format("{} heads x {}, top-{}, rope {}", d["index_heads"].get<int>(),
                                    d["index_head_dim"].get<int>(), d["index_topk"].get<int>(),
                                    d["indexer_rope"].get<std::string>()));
  print_line("own indexer", fmt::format("{} of {} layers", owners, d["layers"].get<int>()));
  print_line("", baseline.text());
  if (d["existing_indexer_types"] != baseline.text()) {
    print_line("config says", d["existing_indexer_types"].get<std::string>());
  }
  if (d.contains("sharing_problem")) {
    print_line("config says", "no usable schedule: " + d["sharing_problem"].get<std::string>());
  }
  print_line("parameters", fmt::format("{:.2f} M", d["parameters"].get<double>() / 1e6));
  std::string dtypes;
  for (const auto& [name, bytes] : d["bytes_by_dtype"].items()) {
    dtypes += fmt::format("{}{} {:.1f} MiB", dtypes.empty() ? "" : ", ", name, mebibytes(bytes));
  }
  print_line("stored", fmt::format("{:.1f} MiB in {} tensors, {} files ({})", mebibytes(d["bytes"]),
                                   d["tensors"].get<int>(), d["shards"].get<int>(), dtypes));
  print_readings(d["engines"]);
  fmt::print(
      "\nEvery F of \"own indexer\" may become S: `indexcache-search run MODEL --calibration FILE "
      "--keep 1/4 --output DIR` finds out which.\n");
}

int run_inspect(const InspectOptions& options, const CommonOptions& common) {
  if (std::filesystem::path(options.model).extension() == ".json") {
    return inspect_config(options.model, options.overrides, common.json);
  }
  if (std::filesystem::is_regular_file(options.model)) {
    return inspect_tokens(options.model, options.sequence, options.tokenizer, common);
  }
  const Model model = open_model(options.model, options.mla_norm_eps);
  Json description = describe(model);
  const std::string config = options.model + "/config.json";
  description["engines"] =
      engine_readings(parse_foreign_json(read_file(config), config),
                      parse_overrides(options.overrides), model.has_indexer, config);
  if (common.json) {
    fmt::print("{}\n", description.dump(1));
  } else {
    print_text(description, model.baseline());
  }
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "A model: architecture, layers, which own an indexer, what serving engines "
      "make of its config.json; or what a prepared calibration file holds");
  command
      ->add_option("model", options->model,
                   "Hugging Face folder of the checkpoint, its config.json alone, or a .h5 file "
                   "that prepare wrote")
      ->type_name("MODEL|FILE");
  command->add_option("--sequence", options->sequence, "Of a file: which sequence to show")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option(
          "--tokenizer", options->tokenizer,
          "Of a file: the tokenizer.json to decode with; default: the one it was made with")
      ->type_name("FILE");
  command
      ->add_option("--override", options->overrides,
                   "Keys that an engine is given on its command line, over those of config.json")
      ->type_name("JSON");
  command->add_option("--mla-norm-eps", options->mla_norm_eps,
                      "Epsilon of the q and kv latent norms");
  add_common_options(*command, common);
  return {command, {"model"}, [options, &common] { return run_inspect(*options, common); }};
}

}  // namespace indexcache
