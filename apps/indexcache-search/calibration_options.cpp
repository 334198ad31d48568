// SPDX-License-Identifier: Apache-2.0
#include "calibration_options.h"

#include <utility>

namespace indexcache {
namespace {

// An option with names for its values, the first of them being the default.
template <typename Value>
CLI::Option* add_named_values(CLI::App& command, const char* option, Value& value,
                              std::vector<std::pair<std::string, Value>> names,
                              const char* description) {
  std::vector<std::string> allowed;
  for (const auto& [name, unused] : names) allowed.push_back(name);
  const auto set = [&value, names](const std::string& text) {
    for (const auto& [name, meaning] : names) {
      if (name == text) value = meaning;
    }
  };
  return command.add_option_function<std::string>(option, set, description)
      ->check(CLI::IsMember(allowed))
      ->default_str(names.front().first);
}

// "\n\n" on a command line is two characters and a letter each.
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 1 < text.size();
    if (!escape) {
      out += text[i];
      continue;
    }
    const char kind = text[++i];
    out += kind == 'n' ? '\n' : kind == 't' ? '\t' : kind == 'r' ? '\r' : kind == '0' ? '\0' : kind;
  }
  return out;
}

void add_shape_options(CLI::App& command, PackingOptions& options) {
  command.add_option("--seq-len", options.seq_len, "Tokens of a sequence; text needs it")
      ->type_name("N");
  command
      .add_option("--sequences", options.sequences,
                  "Sequences to make, held-out ones included; default: as many as there are")
      ->type_name("N");
  add_named_values(
      command, "--pack", options.packing,
      {{"none", Packing::none}, {"concat", Packing::concat}, {"documents", Packing::documents}},
      "none: one document per sequence; concat: documents after one another; "
      "documents: the same, but attention stays within each");
  add_named_values(command, "--long", options.long_documents,
                   {{"truncate", LongDocuments::truncate}, {"split", LongDocuments::split}},
                   "Documents longer than --seq-len: truncate, or split into several sequences");
  command
      .add_option("--min-length", options.min_length, "Drop documents and parts with fewer tokens")
      ->type_name("N")
      ->capture_default_str();
}

void add_choice_options(CLI::App& command, PrepareOptions& options) {
  command
      .add_option("--input-weights", options.weights,
                  "Share of each input in the tokens, in their order")
      ->delimiter(',')
      ->type_name("W");
  command
      .add_option("--strata", options.strata,
                  "Lengths between which documents take turns, such as 2048,8192")
      ->delimiter(',')
      ->type_name("N");
  command.add_option("--seed", options.seed, "Which documents are chosen, and their order")
      ->capture_default_str();
  command.add_flag("--allow-shortfall", options.allow_shortfall,
                   "Go on with fewer sequences than --sequences");
  command.add_flag("--skip-invalid", options.skip_invalid,
                   "Drop and count documents that cannot be read, instead of stopping");
}

void add_text_options(CLI::App& command, PrepareOptions& options) {
  command
      .add_option("--bos", options.bos,
                  "What begins a text: auto (as the tokenizer or the model's family wants), none, "
                  "or an added token")
      ->type_name("auto|none|TOKEN")
      ->capture_default_str();
  command.add_option("--eos", options.eos, "What ends a text: auto (as the tokenizer wants), …")
      ->type_name("auto|none|TOKEN")
      ->capture_default_str();
  command
      .add_option("--chat-format", options.chat_format,
                  "Of \"messages\": auto (by the tokenizer's role markers), deepseek-v3.2 or glm-5")
      ->capture_default_str();
  add_named_values<std::optional<FileKind>>(command, "--format", options.format,
                                            {{"auto", std::nullopt},
                                             {"txt", FileKind::text},
                                             {"jsonl", FileKind::jsonl},
                                             {"json", FileKind::json}},
                                            "What all input files hold, whatever their names");
  command.add_option("--field", options.field, "Key of a .jsonl line that holds the text")
      ->type_name("NAME");
  command
      .add_option_function<std::string>(
          "--separator",
          [&options](const std::string& text) { options.separator = unescaped(text); },
          "What stands between the documents of a .txt file, such as '\\n\\n'; default: a "
          "file is one document")
      ->type_name("TEXT");
}

}  // namespace

void add_sequence_options(CLI::App& command, CalibrationOptions& options) {
  add_shape_options(command, options.prepare.packing);
  add_choice_options(command, options.prepare);
  add_text_options(command, options.prepare);
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  command
      .add_option("-c,--calibration", options.prepare.inputs,
                  "Text or token ids: .txt, .jsonl, .json, .h5, .npy (.gz, .zst), a folder or a "
                  "glob; may be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  command
      .add_option("--tokenizer", options.tokenizer, "tokenizer.json; default: that of the model")
      ->type_name("FILE");
  add_sequence_options(command, options);
}

}  // namespace indexcache
