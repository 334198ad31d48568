// SPDX-License-Identifier: Apache-2.0
#include "calibration_options.h"

#include "option_values.h"

namespace indexcache {
namespace {

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
  command
      .add_option("--seq-len", options.seq_len,
                  "Number of tokens per sequence; required for text input")
      ->type_name("N");
  command
      .add_option("--sequences", options.sequences,
                  "Number of sequences to make, held-out ones included (default: as many as the "
                  "input yields)")
      ->type_name("N");
  add_named_values(
      command, "--pack", options.packing,
      {{"none", Packing::none}, {"concat", Packing::concat}, {"documents", Packing::documents}},
      "How documents fill sequences: none (one document per sequence), concat "
      "(documents follow one another) or documents (the same, but attention stays "
      "within each document)");
  add_named_values(
      command, "--long", options.long_documents,
      {{"truncate", LongDocuments::truncate}, {"split", LongDocuments::split}},
      "What to do with documents longer than --seq-len: truncate them, or split them into several "
      "sequences");
  command
      .add_option("--min-length", options.min_length,
                  "Minimum number of tokens of a document or part; shorter ones are dropped")
      ->type_name("N")
      ->capture_default_str();
}

void add_choice_options(CLI::App& command, PrepareOptions& options) {
  command
      .add_option("--input-weights", options.weights,
                  "Relative share of tokens from each input, in the order of the inputs")
      ->delimiter(',')
      ->type_name("W");
  command
      .add_option("--strata", options.strata,
                  "Length boundaries for stratified sampling, such as 2048,8192")
      ->delimiter(',')
      ->type_name("N");
  command.add_option("--seed", options.seed, "Seed for the choice and order of documents")
      ->type_name("N")
      ->capture_default_str();
  command.add_flag("--allow-shortfall", options.allow_shortfall,
                   "Accept fewer sequences than --sequences");
  command.add_flag("--skip-invalid", options.skip_invalid,
                   "Drop and count documents that cannot be read, instead of stopping");
}

void add_text_options(CLI::App& command, PrepareOptions& options) {
  command
      .add_option("--bos", options.bos,
                  "Token at the beginning of each text: auto (as the tokenizer or the model's "
                  "family defines), none, or an added token")
      ->type_name("auto|none|TOKEN")
      ->capture_default_str();
  command
      .add_option("--eos", options.eos,
                  "Token appended to each text: auto (as the tokenizer defines), none, or an added "
                  "token")
      ->type_name("auto|none|TOKEN")
      ->capture_default_str();
  command
      .add_option(
          "--chat-format", options.chat_format,
          "Format of conversations (\"messages\"): auto (by the tokenizer's role markers and "
          "the chat template next to it), deepseek-v3.2, glm-5, glm-5.1, glm-5.2 or glm-5.3")
      ->type_name("auto|deepseek-v3.2|glm-5|glm-5.1|glm-5.2|glm-5.3")
      ->capture_default_str();
  add_named_values<std::optional<FileKind>>(
      command, "--format", options.format,
      {{"auto", std::nullopt},
       {"txt", FileKind::text},
       {"jsonl", FileKind::jsonl},
       {"json", FileKind::json}},
      "Format of all input files, whatever their names (auto: by file extension)");
  command
      .add_option("--field", options.field,
                  "Key of a .jsonl line that contains the text (default: text)")
      ->type_name("NAME");
  command
      .add_option_function<std::string>(
          "--separator",
          [&options](const std::string& text) { options.separator = unescaped(text); },
          "Text that separates the documents of a .txt file, such as '\\n\\n' (default: each file "
          "is one document)")
      ->type_name("TEXT");
}

}  // namespace

void add_sequence_options(CLI::App& command, CalibrationOptions& options) {
  const OptionGroup group(command, "Calibration data");
  add_shape_options(command, options.prepare.packing);
  add_choice_options(command, options.prepare);
  add_text_options(command, options.prepare);
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  {
    const OptionGroup group(command, "Calibration data");
    command
        .add_option(
            "-c,--calibration", options.prepare.inputs,
            "Text or token ids: a .txt, .jsonl, .json, .h5 or .npy file (also .gz and .zst), "
            "a folder or a glob; may be repeated")
        ->type_name("FILE|DIR")
        ->expected(1)
        ->take_all();
    command
        .add_option("--tokenizer", options.tokenizer,
                    "Tokenizer to use, a tokenizer.json (default: the model's)")
        ->type_name("FILE");
  }
  add_sequence_options(command, options);
}

}  // namespace indexcache
