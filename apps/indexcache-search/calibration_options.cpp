// SPDX-License-Identifier: Apache-2.0
#include "calibration_options.h"

namespace indexcache {
namespace {

void add_shape_options(CLI::App& command, CalibrationOptions& options) {
  command.add_option("--seq-len", options.seq_len, "Tokens of a sequence; text needs it")
      ->type_name("N");
  command
      .add_option("--sequences", options.sequences,
                  "Sequences to make, held-out ones included; default: as many as there are")
      ->type_name("N");
  command
      .add_option("--pack", options.pack,
                  "none: a document a sequence; concat: documents after one another; documents: "
                  "the same, but attention stays within each")
      ->check(CLI::IsMember({"none", "concat", "documents"}))
      ->capture_default_str();
  command
      .add_option("--long", options.long_documents,
                  "Documents longer than --seq-len: truncate, or split into several sequences")
      ->check(CLI::IsMember({"truncate", "split"}))
      ->capture_default_str();
  command
      .add_option("--min-length", options.min_length, "Drop documents and parts with fewer tokens")
      ->type_name("N")
      ->capture_default_str();
}

void add_choice_options(CLI::App& command, CalibrationOptions& options) {
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

void add_text_options(CLI::App& command, CalibrationOptions& options) {
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
  command.add_option("--field", options.field, "Key of a .jsonl line that holds the text")
      ->type_name("NAME");
  command
      .add_option("--separator", options.separator,
                  "What stands between the documents of a .txt file, such as '\\n\\n'; default: a "
                  "file is one document")
      ->type_name("TEXT");
}

}  // namespace

void add_sequence_options(CLI::App& command, CalibrationOptions& options) {
  add_shape_options(command, options);
  add_choice_options(command, options);
  add_text_options(command, options);
}

void add_calibration_options(CLI::App& command, CalibrationOptions& options) {
  command
      .add_option("-c,--calibration", options.inputs,
                  "Text or token ids: .txt, .jsonl, .h5, .npy (.gz, .zst), a folder or a glob; may "
                  "be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  command
      .add_option("--tokenizer", options.tokenizer, "tokenizer.json; default: that of the model")
      ->type_name("FILE");
  add_sequence_options(command, options);
}

}  // namespace indexcache
