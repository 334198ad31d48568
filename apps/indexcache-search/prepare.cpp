// SPDX-License-Identifier: Apache-2.0
// prepare: documents -> a calibration file.
#include "calibration_options.h"
#include "commands.h"
#include "core/console.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/shell_quote.h"
#include "core/utf8.h"
#include "device_options.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "io/json.h"
#include "io/json_text.h"
#include "option_values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <limits>

namespace indexcache {
namespace {

constexpr std::int64_t kShownTokens = 8;

struct PrepareCommand {
  CalibrationOptions calibration;
  double holdout = kDefaultHoldout;
  std::string output;
  int threads = 0;
  std::string progress = "auto";
};

// The model around a tokenizer that was given as a folder.
std::optional<ModelConfig> config_beside(const std::string& tokenizer) {
  if (!std::filesystem::is_directory(tokenizer)) return std::nullopt;
  const std::filesystem::path file = model_folder(tokenizer) / "config.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  return parse_config(parse_foreign_json(read_file(file), file.string()), file.string(),
                      std::nullopt);
}

// What the model would say to these sequences, from their lengths only.
void check_against(const PreparedSet& set, const ModelConfig& config, Progress& progress,
                   std::vector<std::string>& warnings) {
  for (const bool held_out : {false, true}) {
    if (set.size(held_out) == 0) continue;
    const char* side = held_out ? "held-out sequences" : "search sequences";
    for (const auto& warning : check_lengths(set.lengths(held_out), side, token_limits(config))) {
      warn(progress, warnings, fmt::format("{}: {}", side, warning));
    }
  }
}

// The beginning of the first sequence, as ids and as text.
Json beginning(const PreparedSet& set, const Tokenizer* tokenizer) {
  std::vector<TokenId> ids = set.tokens(set.sequence(false, 0));
  ids.resize(std::min<std::size_t>(ids.size(), kShownTokens));
  Json shown{{"ids", ids}, {"text", nullptr}};
  if (tokenizer != nullptr) shown["text"] = printable_utf8(tokenizer->decode(ids));
  return shown;
}

Json document_of(const PreparedSet& set, const std::string& output, const std::string& fingerprint,
                 const Tokenizer* tokenizer) {
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  std::int64_t longest = 0;
  for (const bool held_out : {false, true}) {
    for (std::size_t s = 0; s < set.size(held_out); ++s) {
      shortest = std::min(shortest, set.sequence(held_out, s).length());
      longest = std::max(longest, set.sequence(held_out, s).length());
    }
  }
  return Json{{"file", output},
              {"fingerprint", fingerprint},
              {"tokenizer_sha256", tokenizer != nullptr ? Json(tokenizer->sha256()) : Json()},
              {"sequences", {{"search", set.size(false)}, {"held_out", set.size(true)}}},
              {"shortest", shortest},
              {"longest", longest},
              {"begins", beginning(set, tokenizer)},
              {"report", to_json(without_folders(set.report()))}};
}

void print_text(const Json& document, const PreparedSet& set) {
  write_output("{}, {} to {} tokens each\n", to_text(set.report()),
               count_text(document["shortest"].get<std::int64_t>()),
               count_text(document["longest"].get<std::int64_t>()));
  write_output("the first    {}", document["begins"]["ids"].dump());
  if (!document["begins"]["text"].is_null()) {
    write_output(" = {}", document["begins"]["text"].dump());
  }
  write_output("\nwritten      {}  (tokens sha256 {} …)\n\n", document["file"].get<std::string>(),
               document["fingerprint"].get<std::string>().substr(0, 12));
  write_output(
      "next: indexcache-search run MODEL --calibration {0} --keep 1/4 --output run\n"
      "      indexcache-search inspect {0}\n",
      shell_quoted(document["file"].get<std::string>()));
}

// An output that is there is replaced only where it is one of prepare's own. That it cannot be
// written shows here, before documents are read.
void check_output(const std::string& output, const PrepareOptions& options) {
  if (std::filesystem::path(output).extension() != ".h5") {
    throw UsageError({"the name of the output does not end in .h5", "--output " + output, "",
                      "--output NAME.h5"});
  }
  const auto folder = std::filesystem::absolute(output).parent_path();
  if (!std::filesystem::is_directory(folder)) {
    throw InputError({"the output cannot be written", output,
                      "the folder " + folder.string() + " does not exist",
                      "create it, or choose another --output"});
  }
  require_writable(output);
  if (!std::filesystem::exists(output)) return;
  for (const SourceFile& file : find_source_files(options.inputs, options.format).files) {
    if (!std::filesystem::equivalent(file.path, output)) continue;
    throw InputError({"the output is one of the inputs", output,
                      "the output of an earlier call would be read as documents",
                      "choose an --output outside the input folders"});
  }
  try {
    read_summary(output);
  } catch (const InputError&) {
    throw InputError({"the output would overwrite a file that prepare did not write", output, "",
                      "choose another --output, or remove the file"});
  }
}

int run_prepare(const PrepareCommand& command, const CommonOptions& common) {
  check_output(command.output, command.calibration.prepare);
  Progress progress(progress_style(command.progress, common));
  const CalibrationOptions& calibration = command.calibration;
  const auto config = config_beside(calibration.tokenizer);
  std::optional<Tokenizer> tokenizer;
  if (!calibration.tokenizer.empty()) {
    const auto known = config ? std::optional(config->vocabulary) : std::nullopt;
    tokenizer.emplace(open_tokenizer(calibration.tokenizer, known));
  }
  PrepareOptions options = calibration.prepare;
  options.holdout = command.holdout;
  options.threads = command.threads;
  if (tokenizer) resolve_chat_format(options, *tokenizer, calibration.tokenizer);
  const std::int64_t any_id = std::int64_t{std::numeric_limits<std::int32_t>::max()} + 1;
  const std::int64_t vocabulary = config      ? config->vocabulary
                                  : tokenizer ? std::int64_t{tokenizer->largest_id()} + 1
                                              : any_id;
  const Tokenizer* used = tokenizer ? &*tokenizer : nullptr;
  const PreparedSet set =
      prepare(options, used, vocabulary, [&](std::int64_t documents, std::int64_t) {
        progress.update("reading documents", static_cast<std::size_t>(documents), 0);
      });
  std::vector<std::string> warnings;
  if (config) check_against(set, *config, progress, warnings);
  if (set.report().double_start > 0) {
    warn(progress, warnings,
         fmt::format("{} documents begin with two BOS tokens", set.report().double_start));
  }
  progress.note("writing " + command.output);
  const std::string fingerprint =
      write_calibration(command.output, set, used, calibration.tokenizer);
  Json document = document_of(set, command.output, fingerprint, used);
  document["warnings"] = warnings;
  progress.clear();
  if (common.json) {
    write_output("{}\n", json_text(document, 1));
  } else {
    print_text(document, set);
  }
  return 0;
}

}  // namespace

Command add_prepare(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<PrepareCommand>();
  CLI::App* command = app.add_subcommand(
      "prepare", "Turn texts, chats and token ids into calibration and held-out sequences");
  {
    const OptionGroup group(*command, "Input and output");
    command
        ->add_option(
            "-i,--input", options->calibration.prepare.inputs,
            "Texts, chats or token ids: .txt, .jsonl, .json, .h5 or .npy files (also .gz and "
            ".zst), folders or globs")
        ->type_name("FILE|DIR");
    command
        ->add_option(
            "-t,--tokenizer", options->calibration.tokenizer,
            "Tokenizer: a tokenizer.json, or the model's folder, whose config.json is then "
            "checked as well; not needed for token ids")
        ->type_name("FILE|MODEL");
    command->add_option("-o,--output", options->output, "Calibration file to write")
        ->type_name("FILE.h5");
  }
  add_sequence_options(*command, options->calibration);
  {
    const OptionGroup group(*command, "Calibration data");
    in_range(command->add_option("--holdout", options->holdout,
                                 "Share of the documents to hold out from the search (0: none)"),
             "SHARE", 0.0, 0.99)
        ->capture_default_str();
  }
  add_machine_options(*command, options->threads, options->progress);
  add_common_options(*command, common);
  return {command,
          {"input", "output", "seq-len"},
          {{"cut documents into 64 sequences of 32,768 tokens",
            "prepare -i docs/ -t MODEL --seq-len 32768 --sequences 64 -o tokens.h5"}},
          [options, &common] { return run_prepare(*options, common); }};
}

}  // namespace indexcache
