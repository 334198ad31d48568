// SPDX-License-Identifier: Apache-2.0
// export: a pattern in the words of a serving engine.
#include "commands.h"
#include "core/error.h"
#include "device_options.h"
#include "io/files.h"
#include "result/pattern_file.h"
#include "result/served_model.h"
#include "run/folder.h"
#include "serving/config_reading.h"
#include "serving/engine_export.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>

namespace indexcache {
namespace {

struct ExportOptions {
  std::string source;
  std::string target;
  std::string engine;
  std::string version;
  bool all = false;
  std::string model;
  std::string write_config;
  std::size_t pp_size = 0;
  std::vector<std::size_t> pp_partition;
};

// What is exported and for which model.
struct Subject {
  Pattern pattern;
  ServedModel model;
  std::vector<std::string> caveats;
};

// --model: a checkpoint, or a config.json alone.
ServedModel read_model(const std::string& path, std::string& config_sha256) {
  const bool folder = std::filesystem::is_directory(path);
  const std::filesystem::path file =
      folder ? std::filesystem::path(path) / "config.json" : std::filesystem::path(path);
  const std::string text = read_file(file);
  ServedModel model{.architecture = "", .has_indexer = {}, .config = {}};
  model.config = parse_foreign_json(text, file.string());
  config_layers(model.config, file.string());
  config_sha256 = sha256(text);
  if (model.config.contains("architectures") && model.config["architectures"].is_array() &&
      !model.config["architectures"].empty() && model.config["architectures"][0].is_string()) {
    model.architecture = model.config["architectures"][0].get<std::string>();
  }
  const auto is_shard = [](const auto& entry) {
    return entry.path().extension() == ".safetensors";
  };
  if (folder && std::ranges::any_of(std::filesystem::directory_iterator(path), is_shard)) {
    model.has_indexer = open_model(path).has_indexer;
  }
  return model;
}

// What the file says about its model, if --model does not.
void fill_from_stored(const StoredPattern& stored, ServedModel& model) {
  if (!stored.model) return;
  const ServedModel known = served_model(*stored.model);
  if (model.architecture.empty()) model.architecture = known.architecture;
  if (model.has_indexer.empty()) model.has_indexer = known.has_indexer;
}

Subject read_subject(const ExportOptions& options) {
  ServedModel model;
  std::string config_sha256;
  if (!options.model.empty()) model = read_model(options.model, config_sha256);
  const std::optional<std::size_t> layers =
      model.config.is_object() ? std::optional(config_layers(model.config, options.model))
                               : std::nullopt;
  if (!std::filesystem::exists(options.source)) {
    return {parse_pattern_form(options.source, layers, "pattern " + options.source), model, {}};
  }
  if (std::filesystem::is_regular_file(options.source) &&
      !has_schema(read_document(options.source))) {
    return {read_pattern_file(options.source, layers), model, {}};
  }
  const StoredPattern stored = read_stored_pattern(options.source, options.target);
  Subject subject{stored.pattern, model, {}};
  fill_from_stored(stored, subject.model);
  if (!config_sha256.empty() && stored.model && stored.model->config_sha256 != config_sha256) {
    subject.caveats.emplace_back(
        "the config.json of --model is not the one that the pattern was searched with");
  }
  return subject;
}

std::string title(const EngineProfile& profile) {
  return fmt::format("{} (read in {})", title_of(profile), profile.read);
}

// Writes FOLDER/config.json; a file with other content is nobody's to lose.
std::string write_config(const std::filesystem::path& folder, const Json& config) {
  const std::filesystem::path path = folder / "config.json";
  const std::string text = foreign_json_text(config, 2) + "\n";
  if (std::filesystem::exists(path) && read_file(path) != text) {
    throw InputError({"a config.json is there already", path.string(),
                      "it has other content and would be lost", "another --write-config folder"});
  }
  make_folder(folder, "--write-config");
  write_file(path, text);
  return path.string();
}

// One engine: what goes to stdout, and everything for --json.
Json export_one(const ExportOptions& options, const Subject& subject, const std::string& name,
                bool folder_an_engine) {
  const ChosenProfile chosen = choose_profile(name, options.version);
  const EngineProfile& profile = *chosen.profile;
  EngineExport result = export_pattern(profile, subject.pattern, subject.model,
                                       {options.pp_size, options.pp_partition});
  if (!chosen.warning.empty()) result.caveats.insert(result.caveats.begin(), chosen.warning);
  result.caveats.insert(result.caveats.end(), subject.caveats.begin(), subject.caveats.end());
  Json json{{"engine", name},
            {"profile", title(profile)},
            {"keys", result.keys},
            {"text", result.text},
            {"caveats", result.caveats}};
  if (options.write_config.empty()) return json;
  const Json config = patched_config(profile, subject.pattern, subject.model.config,
                                     subject.model.has_indexer, options.model);
  const std::filesystem::path folder = options.write_config;
  json["file"] = write_config(folder_an_engine ? folder / name : folder, config);
  json["caveats"].push_back(
      "config.json alone is written: put the checkpoint's other files beside it");
  return json;
}

void print_caveats(const Json& json, std::FILE* stream) {
  for (const Json& caveat : json["caveats"]) {
    fmt::print(stream, "# {}\n", caveat.get<std::string>());
  }
}

std::string pasted(const Json& json) {
  return json.contains("file") ? json["file"].get<std::string>() + "\n"
                               : json["text"].get<std::string>();
}

int print_one(const Json& json, const CommonOptions& common) {
  if (common.json) {
    fmt::print("{}\n", json.dump(1));
    return 0;
  }
  if (!common.quiet) {
    fmt::print(stderr, "# {}\n", json["profile"].get<std::string>());
    print_caveats(json, stderr);
  }
  fmt::print("{}", pasted(json));
  return 0;
}

int export_all(const ExportOptions& options, const Subject& subject, const CommonOptions& common) {
  Json engines = Json::array();
  for (const std::string& name : engine_names()) {
    try {
      engines.push_back(export_one(options, subject, name, true));
    } catch (const InputError& error) {
      if (!options.write_config.empty() && error.problem().where.ends_with("config.json")) throw;
      engines.push_back(Json{{"engine", name}, {"refused", error.problem().why}});
    }
  }
  if (common.json) {
    fmt::print("{}\n", Json{{"pattern", subject.pattern.text()}, {"engines", engines}}.dump(1));
    return 0;
  }
  for (const Json& engine : engines) {
    if (engine.contains("refused")) {
      fmt::print("# {}: refused, {}\n\n", engine["engine"].get<std::string>(),
                 engine["refused"].get<std::string>());
      continue;
    }
    fmt::print("# {}\n{}", engine["profile"].get<std::string>(), pasted(engine));
    print_caveats(engine, stdout);
    fmt::print("\n");
  }
  return 0;
}

int run_export(const ExportOptions& options, const CommonOptions& common) {
  if (options.engine.empty() == !options.all) {
    throw UsageError({"one engine or all of them", "--engine", "",
                      fmt::format("--engine {}, or --all", fmt::join(engine_names(), "|"))});
  }
  if (options.all && !options.version.empty()) {
    throw UsageError({"--engine-version is of one engine", "--engine-version", "",
                      "--engine NAME instead of --all"});
  }
  if (!options.write_config.empty() && options.model.empty()) {
    throw UsageError({"--write-config changes a config.json", "--write-config",
                      "which one is not known", "--model MODEL, the checkpoint's folder"});
  }
  if (!options.engine.empty()) choose_profile(options.engine, options.version);
  const Subject subject = read_subject(options);
  if (options.all) return export_all(options, subject, common);
  return print_one(export_one(options, subject, options.engine, false), common);
}

}  // namespace

Command add_export(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "What to paste into a serving engine for a pattern");
  command
      ->add_option("source", options->source,
                   "A run folder, a pattern.yaml or run.json, or a pattern")
      ->type_name("RUN|PATTERN");
  command
      ->add_option("-e,--engine", options->engine,
                   fmt::format("{}", fmt::join(engine_names(), ", ")))
      ->type_name("NAME");
  command
      ->add_option("--engine-version", options->version, "Its version; default: the newest known")
      ->type_name("V");
  command->add_flag("--all", options->all, "Every engine");
  command->add_option("--target", options->target, "Of a run with several: 1/4, or F layers")
      ->type_name("N|A/B");
  command->add_option("-m,--model", options->model, "The checkpoint, or its config.json")
      ->type_name("MODEL|FILE");
  command
      ->add_option("--write-config", options->write_config,
                   "Write the model's config.json with the pattern into this folder")
      ->type_name("DIR");
  CLI::Option* pp_size = command
                             ->add_option("--pp-size", options->pp_size,
                                          "Pipeline stages to be served with, cut evenly")
                             ->type_name("P");
  command
      ->add_option("--pp-partition", options->pp_partition,
                   "Layers of each pipeline stage, such as 20,20,21")
      ->delimiter(',')
      ->type_name("N")
      ->excludes(pp_size);
  add_common_options(*command, common);
  return {command, {"source"}, [options, &common] { return run_export(*options, common); }};
}

}  // namespace indexcache
