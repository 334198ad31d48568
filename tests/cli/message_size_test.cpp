// SPDX-License-Identifier: Apache-2.0
// A message is a few lines, however large and broken the data is that it is about.
#include "core/utf8.h"
#include "io/hdf5.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

const std::string kModel = data("dsa-mini");

std::string repeated(const std::string& text, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) all += text;
  return all;
}

const std::string& private_text() {
  static const std::string text = repeated("Name of a patient. ", 2'000'000);
  return text;
}

void check_bounded(const Arguments& arguments, int code) {
  const ProcessResult result = run_tool(arguments);
  INFO(result.err.substr(0, 2000));
  CHECK(result.code == code);
  CHECK(result.err.size() < 1000);
  CHECK_THAT(result.err, Contains("error: ") && Contains("  at:  "));
  CHECK(!find_invalid_utf8(result.err));
  CHECK(std::ranges::none_of(result.err, [](char c) { return c > 0 && c < ' ' && c != '\n'; }));
}

Arguments prepare(const std::filesystem::path& input, const std::filesystem::path& output) {
  return {"prepare", "-i", input, "-t", kModel, "--seq-len", "256", "-o", output};
}

}  // namespace

TEST_CASE("broken calibration data of megabytes is refused in less than 1,000 bytes") {
  const TempFolder folder;
  const std::string& text = private_text();
  const std::string ids = repeated("1234567,", 2'000'000) + "1";
  const std::string open = R"({"text": ")";
  const std::pair<const char*, std::string> lines[] = {
      {"latin1", open + text + "\xE9\"}"},
      {"control", open + text + "\x01\"}"},
      {"torn", open + text},
      {"escape", open + text + "\\q\"}"},
      {"trailing", open + text + "\"} \"" + text + "\""},
      {"literal", "{\"text\": " + repeated("nul", 2'000'000) + "}"},
      {"number", "{\"text\": \"a\", \"n\": " + repeated("9", 2'000'000) + "e}"},
      {"nested ids", R"({"input_ids": [[)" + ids + "]]}"},
      {"ids as text", R"({"input_ids": [")" + text + "\"]}"},
      {"deep", R"({"input_ids": [)" + repeated("[", 2'000'000) + repeated("]", 2'000'000) + "]}"},
      {"not a string", R"({"text": [)" + ids + "]}"},
      {"key", "{\"" + text + "\": 1}"},
      {"many keys", "{" + repeated("\"k\": 1, ", 2'000'000) + "\"k\": 1}"},
      {"list", "[" + ids + "]"},
      {"role", R"({"messages": [{"role": ")" + text + "\"}]}"},
      {"field", R"({"messages": [{"role": "user", "content": "a", ")" + text + "\": \"b\"}]}"},
      {"part", R"({"messages": [{"role": "user", "content": [{"type": ")" + text + "\"}]}]}"},
      {"arguments",
       R"({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": ")" + text +
           "\"}]}]}"},
  };
  for (const auto& [name, line] : lines) {
    INFO(name);
    write_text(folder / "x.jsonl", "{\"text\": \"fine words\"}\n" + line + "\n");
    check_bounded(prepare(folder / "x.jsonl", folder / "x.h5"), 3);
    check_bounded({"eval", kModel, "full", "-c", folder / "x.jsonl"}, 3);
  }
  CHECK(!std::filesystem::exists(folder / "x.h5"));
}

TEST_CASE("the place in a line of megabytes is its file, line and column, with what is there") {
  const TempFolder folder;
  write_text(folder / "x.jsonl",
             "{\"text\": \"fine\"}\n{\"text\": \"" + private_text() + "Doe\x01\"}\n");
  const std::string message = run_tool(prepare(folder / "x.jsonl", folder / "x.h5")).err;
  const std::size_t column = 11 + private_text().size() + 3;
  CHECK_THAT(message, Contains("x.jsonl:2:" + std::to_string(column) + "\n") &&
                          Contains("control character") && Contains("\"…") &&
                          Contains("Name of a patient. Doe\\x01") && Contains("--skip-invalid"));
}

TEST_CASE("broken tokenizers, configurations and settings of megabytes are refused as briefly") {
  const TempFolder folder;
  const std::string& text = private_text();
  write_text(folder / "a.txt", repeated("some words ", 10'000));
  const auto with_tokenizer = [&](const std::string& json) {
    write_text(folder / "tokenizer.json", json);
    check_bounded({"prepare", "-i", folder / "a.txt", "-t", folder / "tokenizer.json", "--seq-len",
                   "64", "-o", folder / "x.h5"},
                  3);
  };
  with_tokenizer("{\"model\": \"" + text);
  with_tokenizer("{\"model\": {\"type\": \"" + text + "\"}}");
  with_tokenizer("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"" + text + "\": \"x\"}}}");
  const auto with_config = [&](const std::string& json) {
    write_text(folder / "config.json", json);
    check_bounded({"inspect", folder.path()}, 3);
  };
  with_config("{\"architectures\": [\"" + text + "\"]}");
  with_config("{\"architectures\": \"" + text);
  with_config("{\"num_hidden_layers\": \"" + text +
              "\", \"architectures\": "
              "[\"DeepseekV32ForCausalLM\"], \"model_type\": \"deepseek_v32\", \"index_topk\": 1}");
  with_config("{\"" + text + "\": 1, \"" + text + "\": 1}");
  write_text(folder / "settings.yaml", "keep: [" + text);
  check_bounded({"run", "--config", folder / "settings.yaml"}, 2);
  write_text(folder / "settings.yaml", text + ": 1\n" + text + ": 1\n");
  check_bounded({"run", "--config", folder / "settings.yaml"}, 2);
  {
    Hdf5Writer file(folder / "c.h5");
    file.write("/tokens", {1, 4}, std::vector<std::int64_t>{1, 2, 3, 4});
    file.attribute("schema", text.substr(0, 60'000));
    file.close();
  }
  check_bounded({"inspect", folder / "c.h5"}, 3);
}
