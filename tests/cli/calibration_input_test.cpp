// SPDX-License-Identifier: Apache-2.0
// The calibration files and configurations that people have, as the program takes them.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"

#include <algorithm>
#include <cstdint>
#include <sys/stat.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

const std::string kModel = data("dsa-mini");

// A line of about 90 words; different for every number.
std::string words(int number) {
  std::string text = std::to_string(number);
  for (int i = 0; i < 90; ++i) text += " some words of text";
  return text;
}

std::string lines_of(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += Json{{"text", words(i)}}.dump() + "\n";
  return lines;
}

ProcessResult prepare(const std::string& input, const TempFolder& folder,
                      const Arguments& more = {}) {
  Arguments all{"prepare", "-i", input,           "-t",    kModel, "--seq-len",
                "256",     "-o", folder / "x.h5", "--json"};
  all.insert(all.end(), more.begin(), more.end());
  return run_tool(all);
}

// The fingerprint of the tokens that were prepared.
std::string fingerprint_of(const ProcessResult& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_json(result.out, "stdout")["fingerprint"].get<std::string>();
}

void check_refused(const ProcessResult& result, const Arguments& parts) {
  INFO(result.err);
  CHECK(result.code == 3);
  for (const std::string& part : parts) CHECK_THAT(result.err, Contains(part));
  CHECK(result.err.size() < 1000);
}

}  // namespace

TEST_CASE("a folder with what systems leave in it is read as without") {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "d/.git");
  write_text(folder / "d/a.jsonl", lines_of(8));
  const std::string clean = fingerprint_of(prepare(folder / "d", folder));
  write_text(folder / "d/._a.jsonl", std::string("\0\5\x16\7\0\2", 6));
  write_text(folder / "d/.git/z.jsonl", "{\"torn");
  std::filesystem::create_symlink("..", folder / "d/up");
  const ProcessResult result = prepare(folder / "d", folder);
  CHECK(fingerprint_of(result) == clean);
  CHECK(parse_json(result.out, "stdout")["report"]["hidden_files"] == 2);
}

TEST_CASE("a pipe does not keep the program waiting") {
  const TempFolder folder;
  REQUIRE(mkfifo((folder / "pipe.jsonl").c_str(), 0600) == 0);
  const std::string pipe = folder / "pipe.jsonl";
  const Arguments commands[] = {
      {"prepare", "-i", pipe, "-t", kModel, "--seq-len", "256", "-o", folder / "x.h5"},
      {"eval", kModel, "full", "-c", pipe},
      {"eval", kModel, "full", "-c", pipe, "--seq-len", "600"}};
  for (const Arguments& command : commands) CHECK(run_and_kill(command, 20) == 3);
  check_refused(prepare(pipe, folder), {"it is a pipe", "try: write the data to a file first"});
  check_refused(prepare("-", folder), {"standard input is not supported"});
}

TEST_CASE("calibration files as they come") {
  const TempFolder folder;
  write_text(folder / "a.jsonl", lines_of(8));
  Json list = Json::array();
  for (int i = 0; i < 8; ++i) list.push_back({{"text", words(i)}, {"score", i}});
  write_text(folder / "array.json", list.dump(1));
  write_text(folder / "LINES.JSONL", lines_of(8));
  write_text(folder / "lines", lines_of(8));
  const std::string expected = fingerprint_of(prepare(folder / "a.jsonl", folder));
  CHECK(fingerprint_of(prepare(folder / "array.json", folder)) == expected);
  CHECK(fingerprint_of(prepare(folder / "LINES.JSONL", folder)) == expected);
  CHECK(fingerprint_of(prepare(folder / "lines", folder, {"--format", "jsonl"})) == expected);
  const Arguments whole{"--holdout", "0"};
  for (const char* name : {"wiki.test.raw", "DATA.TXT", "calibration.md"}) {
    write_text(folder / name, words(1));
    CHECK(prepare(folder / name, folder, whole).code == 0);
  }
  write_text(folder / "a.parquet", "PAR1");
  check_refused(prepare(folder / "a.parquet", folder), {".parquet", "read_parquet"});
  check_refused(prepare(folder / "lines", folder), {"unknown file type", "--format"});
  write_text(
      folder / "share.json",
      R"([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}])");
  check_refused(prepare(folder / "share.json", folder), {"ShareGPT", "jq -c '.[] | "});
  CHECK(run_tool({"prepare", "-i", folder / "a.jsonl", "--format", "csv", "--seq-len", "64", "-o",
                  folder / "x.h5"})
            .code == 2);
}

TEST_CASE("a config.json with NaN is read where nobody uses the value, and refused where it is") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder / "m");
  const std::string original = read_file(folder / "m/config.json");
  const auto with = [&](const std::string& key, const std::string& value) {
    Json config = Json::parse(original);
    config[key] = "VALUE";
    std::string text = config.dump(1);
    const std::string quoted_value = "\"VALUE\"";
    text.replace(text.find(quoted_value), quoted_value.size(), value);
    write_text(folder / "m/config.json", text);
  };
  for (const auto& [key, value] : {std::pair("initializer_range", "NaN"),
                                   {"_x", "[-Infinity, 1e999]"},
                                   {"_y", "\"\\ud83d\""}}) {
    with(key, value);
    const ProcessResult result = run_tool({"inspect", folder / "m"});
    INFO(key << result.err);
    CHECK(result.code == 0);
  }
  const std::pair<const char*, const char*> read[] = {
      {"rms_norm_eps", "NaN"}, {"rms_norm_eps", "Infinity"}, {"routed_scaling_factor", "NaN"},
      {"hidden_size", "NaN"},  {"index_topk", "Infinity"},   {"rope_theta", "-Infinity"}};
  for (const auto& [key, value] : read) {
    with(key, value);
    check_refused(run_tool({"inspect", folder / "m"}), {key, value});
  }
}

TEST_CASE("export writes a config.json with NaN as it was") {
  const TempFolder folder;
  Json config = Json::parse(read_file(golden("deepseek_v32_tiny") / "config.json"));
  std::string text = config.dump();
  text.insert(1, "\"initializer_range\": NaN, ");
  const std::size_t second = text.find("\"initializer_range\"", 30);
  if (second != std::string::npos) text.replace(second, 19, "\"initializer_other\"");
  write_text(folder / "config.json", text);
  const std::string pattern =
      "F" + std::string(config["num_hidden_layers"].get<std::size_t>() - 1, 'S');
  const ProcessResult result = run_tool({"export", pattern, "--model", folder / "config.json", "-e",
                                         "sglang", "--write-config", folder / "out"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(read_file(folder / "out/config.json"), Contains("\"initializer_range\": NaN"));
}

TEST_CASE("conversations as servers log them are rendered") {
  const TempFolder folder;
  Json tokenizer = Json::parse(read_file(kModel + "/tokenizer.json"));
  std::int64_t next = 0;
  for (const auto& [entry, id] : tokenizer["model"]["vocab"].items()) {
    next = std::max(next, id.get<std::int64_t>() + 1);
  }
  for (const Json& token : tokenizer["added_tokens"]) {
    next = std::max(next, token["id"].get<std::int64_t>() + 1);
  }
  for (const char* marker : {"<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    tokenizer["added_tokens"].push_back({{"id", next++}, {"content", marker}, {"special", true}});
  }
  write_text(folder / "tokenizer.json", tokenizer.dump());
  const std::string ask = R"({"role": "user", "content": ")" + words(1) + "\"}";
  const std::string answer = R"("role": "assistant", "content": "It is noon.")";
  const std::string logs[] = {
      "[" + ask + ", {" + answer + R"(, "annotations": [], "refusal": null, "weight": 1}])",
      "[" + ask + R"(, {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type":
          "function", "function": {"name": "now", "arguments": ""}}]}, {"role": "tool",
          "tool_call_id": "c1", "content": "12:00"}, {)" +
          answer + "}]",
      R"([{"role": "developer", "content": "Be brief."}, )" + ask + ", {" + answer + "}]",
      "[" + ask + R"(, {"role": "assistant", "content": null, "function_call": {"name": "now",
          "arguments": "{}"}}, {"role": "function", "name": "now", "content": "12:00"}, {)" +
          answer + "}]"};
  for (const std::string& messages : logs) {
    INFO(messages);
    write_text(folder / "x.jsonl", Json{{"messages", Json::parse(messages)}}.dump() + "\n");
    const ProcessResult result =
        run_tool({"prepare", "-i", folder / "x.jsonl", "-t", folder / "tokenizer.json", "--seq-len",
                  "64", "--holdout", "0", "-o", folder / "x.h5"});
    INFO(result.err);
    CHECK(result.code == 0);
  }
  write_text(folder / "x.jsonl", R"({"messages": [{"role": "user", "content": [{"type": "text",
      "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]}]})");
  std::string line = read_file(folder / "x.jsonl");
  std::ranges::replace(line, '\n', ' ');
  write_text(folder / "x.jsonl", line + "\n");
  check_refused(run_tool({"prepare", "-i", folder / "x.jsonl", "-t", folder / "tokenizer.json",
                          "--seq-len", "64", "--holdout", "0", "-o", folder / "x.h5"}),
                {"x.jsonl:1, message 1", "\"image_url\", which is not text", "--skip-invalid"});
}
