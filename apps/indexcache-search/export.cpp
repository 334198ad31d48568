// SPDX-License-Identifier: Apache-2.0
// export: a pattern in the words of a serving engine.
#include "commands.h"
#include "core/console.h"
#include "core/error.h"
#include "device_options.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "io/json_text.h"
#include "io/weight_files.h"
#include "model/family.h"
#include "model/indexer_folder.h"
#include "model/tensor_registry.h"
#include "option_values.h"
#include "pattern_spec.h"
#include "result/distillation.h"
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

// Which layers own an indexer, as far as the names of tensors can be read; else empty, which export
// can do without.
std::vector<bool> owners_in(const std::filesystem::path& folder, std::size_t layers,
                            std::vector<std::string>& caveats) {
  const auto unknown = [&](const std::string& why) {
    caveats.push_back("which layers own an indexer is not checked: " + why);
    return std::vector<bool>();
  };
  try {
    const WeightFiles files = find_weight_files(folder);
    if (!files.readable())
      return files.others.empty() ? std::vector<bool>() : unknown(files.others);
    const std::vector<bool> owners = indexer_owners(stored_names(folder), layers);
    return std::ranges::count(owners, true) > 0 ? owners : unknown("no tensor is named so");
  } catch (const Error& error) {
    return unknown(fmt::format("{} ({})", error.problem().what, error.problem().where));
  }
}

// --model: a checkpoint, or a config.json alone.
ServedModel read_model(const std::string& path, std::string& config_sha256,
                       std::vector<std::string>& caveats) {
  const bool folder = !std::filesystem::is_regular_file(path);
  const std::filesystem::path file =
      folder ? model_folder(path) / "config.json" : std::filesystem::path(path);
  const std::string text = read_file(file);
  ServedModel model{.architecture = "", .has_indexer = {}, .config = {}};
  model.config = parse_foreign_json(text, file.string());
  const std::size_t layers = config_layers(model.config, file.string());
  config_sha256 = sha256(text);
  model.architecture = architecture_of(model.config);
  if (!folder) return model;
  const std::vector<bool> owners = owners_in(file.parent_path(), layers, caveats);
  if (owners.empty()) return model;
  for (const std::size_t layer : lettered_layers(model.config, file.string())) {
    model.has_indexer.push_back(owners[layer]);
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

// A pattern that was searched for with trained indexers ruins a model that does not have them.
void require_trained_indexers(const ExportOptions& options, const StoredPattern& stored,
                              ServedModel& model) {
  if (!stored.target || !stored.target->distilled) return;
  model.needs_trained_indexers = true;
  if (!options.model.empty() && std::filesystem::is_directory(options.model) &&
      trained_pattern(options.model) == stored.pattern.text()) {
    return;
  }
  const std::filesystem::path source = options.source;
  const std::filesystem::path run =
      std::filesystem::is_directory(source) ? source : source.parent_path();
  throw InputError({"this pattern needs the indexers that were trained for it",
                    options.model.empty() ? "--model" : options.model,
                    options.model.empty() ? "no checkpoint that has them was given"
                                          : "the checkpoint does not have them",
                    "--model " + (run / stored.target->distilled->folder).string()});
}

bool is_distillation(const std::filesystem::path& source) {
  if (source.filename() == kDistillationFile) return true;
  return std::filesystem::exists(source / kDistillationFile) &&
         !std::filesystem::exists(source / "run.json");
}

// The pattern of a distillation, with the checkpoint that it wrote unless --model names another.
Subject read_distilled_subject(const ExportOptions& options) {
  const std::filesystem::path source = options.source;
  const Distillation distillation = read_distillation(source);
  if (!distillation.gain) {
    throw InputError({"there is no trained checkpoint to export for", source.string(),
                      "the training gained nothing",
                      "export " + distillation.pattern.text() + ", for the released checkpoint"});
  }
  const std::filesystem::path folder =
      std::filesystem::is_directory(source) ? source : source.parent_path();
  const std::string model = options.model.empty() ? (folder / "model").string() : options.model;
  if (trained_pattern(model) != distillation.pattern.text()) {
    throw InputError({"this pattern needs the indexers that were trained for it", model,
                      "the checkpoint does not have them", "--model DIR/model of the training"});
  }
  Subject subject{distillation.pattern, {}, {}};
  std::string config_sha256;
  subject.model = read_model(model, config_sha256, subject.caveats);
  subject.model.needs_trained_indexers = true;
  return subject;
}

// Trained indexers of a model fit one pattern.
void warn_of_other_training(const ExportOptions& options, Subject& subject) {
  if (options.model.empty() || !std::filesystem::is_directory(options.model)) return;
  const std::string trained = trained_pattern(options.model);
  if (trained.empty() || trained == subject.pattern.text()) return;
  subject.caveats.push_back("the indexers of --model were trained for another pattern, " + trained);
}

Subject read_subject(const ExportOptions& options) {
  if (is_distillation(options.source)) return read_distilled_subject(options);
  ServedModel model;
  std::string config_sha256;
  std::vector<std::string> caveats;
  if (!options.model.empty()) model = read_model(options.model, config_sha256, caveats);
  std::optional<std::size_t> layers;
  if (model.config.is_object()) layers = lettered_layers(model.config, options.model).size();
  if (!std::filesystem::exists(options.source)) {
    return {parse_pattern_text(options.source, layers), model, caveats};
  }
  if (std::filesystem::is_regular_file(options.source) &&
      !has_schema(read_document(options.source))) {
    return {read_pattern_file(options.source, layers), model, caveats};
  }
  const StoredPattern stored = read_stored_pattern(options.source, options.target);
  Subject subject{stored.pattern, model, caveats};
  fill_from_stored(stored, subject.model);
  require_trained_indexers(options, stored, subject.model);
  if (stored.model && stored.model->indexer) {
    subject.caveats.push_back(
        fmt::format("the pattern was searched for with the indexer {}: turn it on in the engine, "
                    "which no key here does",
                    indexer_text(stored.model->indexer)));
  }
  if (!config_sha256.empty() && stored.model && stored.model->config_sha256 != config_sha256) {
    subject.caveats.emplace_back(
        "the config.json of --model differs from the one that was searched");
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
    throw InputError({"config.json already exists", path.string(),
                      "its content differs and would be overwritten",
                      "choose another --write-config folder"});
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
      "only config.json was written: copy the checkpoint's other files into the same folder");
  return json;
}

std::string caveat_lines(const Json& json) {
  std::string lines;
  for (const Json& caveat : json["caveats"]) lines += "# " + caveat.get<std::string>() + "\n";
  return lines;
}

// On standard error as comments of a shell, so that all of it can be pasted.
void tell_profile(const Json& json, bool quiet) {
  std::vector<std::string> lines = {json["profile"].get<std::string>()};
  for (const Json& caveat : json["caveats"]) lines.push_back(caveat.get<std::string>());
  for (const std::string& line : lines) {
    const LogRecord record{.message = line};
    write_file_record(record);
    if (!quiet) show_record(record, "# " + line + "\n");
  }
}

std::string pasted(const Json& json) {
  return json.contains("file") ? json["file"].get<std::string>() + "\n"
                               : json["text"].get<std::string>();
}

int print_one(const Json& json, const CommonOptions& common) {
  if (common.json) {
    write_output("{}\n", json_text(json, 1));
    return 0;
  }
  tell_profile(json, common.quiet);
  write_output("{}", pasted(json));
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
    write_output("{}\n",
                 json_text(Json{{"pattern", subject.pattern.text()}, {"engines", engines}}, 1));
    return 0;
  }
  for (const Json& engine : engines) {
    if (engine.contains("refused")) {
      write_output("# {}: refused, {}\n\n", engine["engine"].get<std::string>(),
                   engine["refused"].get<std::string>());
      continue;
    }
    write_output("# {}\n{}{}\n", engine["profile"].get<std::string>(), pasted(engine),
                 caveat_lines(engine));
  }
  return 0;
}

int run_export(const ExportOptions& options, const CommonOptions& common) {
  const bool needs_model = !options.write_config.empty() && options.model.empty();
  if (options.engine.empty() == !options.all) {
    throw UsageError({fmt::format("specify either --engine NAME or --all{}",
                                  needs_model ? ", and --model for --write-config" : ""),
                      "--engine", "",
                      fmt::format("--engine {}, or --all", fmt::join(engine_names(), "|"))});
  }
  if (options.all && !options.version.empty()) {
    throw UsageError({"--engine-version requires --engine", "--engine-version", "",
                      "--engine NAME instead of --all"});
  }
  if (needs_model) {
    throw UsageError({"--write-config requires --model", "--write-config", "",
                      "--model MODEL, the checkpoint's folder"});
  }
  if (!options.engine.empty()) choose_profile(options.engine, options.version);
  Subject subject = read_subject(options);
  warn_of_other_training(options, subject);
  if (options.all) return export_all(options, subject, common);
  return print_one(export_one(options, subject, options.engine, false), common);
}

void add_pattern_options(CLI::App& command, ExportOptions& options) {
  const OptionGroup group(command, "Pattern and model");
  command
      .add_option(
          "source", options.source,
          "Pattern to export: a run folder, the folder of a distillation, a pattern.yaml or "
          "run.json, or a pattern")
      ->type_name("RUN|PATTERN");
  add_target_option(command, options.target);
  command
      .add_option("-m,--model", options.model,
                  "Checkpoint to be served, or its config.json: the export is checked against it")
      ->type_name("MODEL|FILE");
  command
      .add_option("--write-config", options.write_config,
                  "Folder in which to write the model's config.json with the pattern in it")
      ->type_name("DIR");
}

void add_engine_options(CLI::App& command, ExportOptions& options) {
  const OptionGroup group(command, "Serving engine");
  command.add_option("-e,--engine", options.engine, "Engine to export for; see also --all")
      ->type_name(fmt::format("{}", fmt::join(engine_names(), "|")));
  command
      .add_option("--engine-version", options.version,
                  "Version of the engine (default: the newest that is known)")
      ->type_name("V");
  command.add_flag("--all", options.all, "Export for every engine");
  CLI::Option* pp_size =
      command
          .add_option("--pp-size", options.pp_size,
                      "Number of pipeline stages of the deployment, divided evenly")
          ->type_name("P");
  command
      .add_option("--pp-partition", options.pp_partition,
                  "Number of layers in each pipeline stage, such as 20,20,21")
      ->delimiter(',')
      ->type_name("N,N,...")
      ->excludes(pp_size);
}

}  // namespace

Command add_export(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "Print or write what a serving engine needs to use a pattern");
  add_pattern_options(*command, *options);
  add_engine_options(*command, *options);
  add_common_options(*command, common);
  return {command,
          {"source"},
          {{"the flag for vLLM", "export run --engine vllm"},
           {"a config.json with the pattern, for SGLang",
            "export run -e sglang -m MODEL --write-config patched/"}},
          [options, &common] { return run_export(*options, common); }};
}

}  // namespace indexcache
