// SPDX-License-Identifier: Apache-2.0
// prepare, inspect of what it writes, and the measuring commands on text.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/refused_command.h"

#include <cstdlib>
#include <iterator>
#include <sys/wait.h>
#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

Json json_of(const ProcessResult& result) {
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_json(result.out, "stdout");
}

const std::string kText = data("dsa-mini/calibration.jsonl");
const std::string kModel = data("dsa-mini");
const Arguments kShape = {"--seq-len", "600", "--min-length", "600", "--sequences", "4"};

Arguments with(Arguments first, const Arguments& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

}  // namespace

TEST_CASE("run on text and on the prepared file: the same tokens, losses and pattern") {
  const TempFolder folder;
  const Arguments shape = {"--seq-len", "200", "--min-length", "200", "--sequences", "4"};
  const Arguments prepare = {"prepare", "-i", kText, "-t", kModel, "-o", folder / "c.h5", "--json"};
  const Json prepared = json_of(run_tool(with(prepare, shape)));
  CHECK(prepared["sequences"] == Json({{"search", 3}, {"held_out", 1}}));
  const Arguments run = {"run", kModel, "--remove", "1", "--json", "-c"};
  const Json from_text = json_of(run_tool(with(with(run, {kText, "-o", folder / "a"}), shape)));
  const Json from_file = json_of(run_tool(with(run, {folder / "c.h5", "-o", folder / "b"})));
  CHECK(from_text["fingerprint"] == from_file["fingerprint"]);
  CHECK(from_text["calibration"]["prepared"] == from_file["calibration"]["prepared"]);
  CHECK(from_text["baseline"] == from_file["baseline"]);
  CHECK(from_text["holdout"]["sha256"] == from_file["holdout"]["sha256"]);
  CHECK(from_text["targets"][0]["pattern"] == from_file["targets"][0]["pattern"]);
  CHECK_THAT(read_file(folder / "a/pattern.yaml"), Contains("dropped_too_short: "));
  CHECK(from_text["calibration"]["sequences"] == 3);
}

TEST_CASE("prepare prints what became of the documents, and inspect what a file holds") {
  const TempFolder folder;
  const Arguments prepare = {"prepare", "-i", kText, "-t", kModel, "-o", folder / "c.h5"};
  const ProcessResult result = run_tool(with(prepare, kShape));
  CHECK_THAT(result.out, Contains("4 of") || Contains("3 of 3 sequences for the search"));
  CHECK_THAT(result.out, Contains("tokens used") && Contains("<｜begin▁of▁sentence｜>") &&
                             Contains("next: indexcache-search run"));
  const Json file = json_of(run_tool({"inspect", folder / "c.h5", "--sequence", "3", "--json"}));
  CHECK(file["sequence"]["held_out"] == true);
  CHECK(file["sequence"]["length"] == 600);
  CHECK_THAT(file["sequence"]["text"].get<std::string>(), Contains("<｜begin▁of▁sentence｜>"));
  CHECK_THAT(file["sequence"]["documents"][0].get<std::string>(), Contains("calibration.jsonl:"));
  CHECK(file["settings"]["seq_len"] == 600);
  CHECK(file["files"][0]["sha256"] == sha256(read_file(kText)));
  const ProcessResult text = run_tool({"inspect", folder / "c.h5"});
  CHECK_THAT(text.out, Contains("3 for the search, 1 held out") && Contains("seed 0"));
  check_refused({"inspect", folder / "c.h5", "--sequence", "4"}, 2, "sequence 4 does not exist");
  check_refused({"inspect", folder / "c.h5", "-t", golden("tokenizers/glm_tokenizer.json")}, 2,
                "-t");
  check_refused(
      {"inspect", folder / "c.h5", "--tokenizer", golden("tokenizers/glm_tokenizer.json")}, 3,
      "different tokenizer");
}

TEST_CASE("ids of other programs are prepared without a tokenizer") {
  const TempFolder folder;
  std::string ids;
  for (int t = 0; t < 400; ++t) ids += (t > 0 ? "," : "") + std::to_string(t * 7 % 300);
  write_text(folder / "ids.jsonl", "{\"input_ids\":[" + ids + "]}\n");
  const Json prepared =
      json_of(run_tool({"prepare", "-i", folder / "ids.jsonl", "-o", folder / "c.h5", "--seq-len",
                        "100", "--long", "split", "--holdout", "0", "--json"}));
  CHECK(prepared["sequences"]["search"] == 4);
  CHECK(prepared["begins"]["ids"] == Json({0, 7, 14, 21, 28, 35, 42, 49}));
  CHECK(prepared["begins"]["text"].is_null());
  // Four parts of one document cannot be told apart from one another.
  check_refused({"run", golden("deepseek_v32_tiny"), "-c", folder / "c.h5", "--keep", "1/2", "-o",
                 folder / "run", "--holdout", "0.5"},
                3, "share documents");
  check_refused({"prepare", "-i", kText, "-o", folder / "c.h5", "--seq-len", "100"}, 3,
                "requires a tokenizer");
}

TEST_CASE("text that cannot be tokenized or cut names everything that is missing") {
  const TempFolder folder;
  write_text(folder / "a.txt", "text");
  write_text(folder / "chat.jsonl", R"({"messages": [{"role": "user", "content": "a"}]})"
                                    "\n");
  const std::string no_tokenizer = golden("deepseek_v32_tiny");
  for (const std::string& input :
       {kText, (folder / "a.txt").string(), (folder / "chat.jsonl").string()}) {
    const auto says = [&](const Arguments& arguments) {
      const ProcessResult result = run_tool(with(arguments, {"-c", input}));
      CHECK((result.code == 2 || result.code == 3));
      return result.err;
    };
    CHECK_THAT(says({"eval", no_tokenizer, "full"}),
               Contains(" --tokenizer and --seq-len\n") &&
                   Contains("try: --tokenizer FILE, because") && Contains("--seq-len 64"));
    CHECK_THAT(says({"eval", no_tokenizer, "full", "--seq-len", "20"}), Contains(" a tokenizer\n"));
    CHECK_THAT(says({"eval", kModel, "full"}),
               Contains(" --seq-len\n") && !Contains("--tokenizer"));
    CHECK_THAT(says({"eval", kModel, "full", "--tokenizer", kModel}), Contains(" --seq-len\n"));
    CHECK_THAT(says({"bench", "search", no_tokenizer, "--device", "cpu"}),
               Contains("requires a tokenizer\n") || Contains("require a tokenizer\n"));
  }
  check_refused({"prepare", "-i", folder / "chat.jsonl", "-o", folder / "c.h5", "--seq-len", "64"},
                3, "conversations require a tokenizer");
  check_refused({"prepare", "-o", folder / "c.h5"}, 2, "--input and --seq-len are required");
}

TEST_CASE("calibration data that has to be cut, or was cut for another model, is refused") {
  const TempFolder folder;
  write_text(folder / "a.txt", "text");
  const Arguments run = {"run", kModel, "--keep", "1/4", "-o", folder / "run", "-c"};
  check_refused(with(run, {folder / "a.txt"}), 2, "--seq-len 512");
  check_refused(with(run, {kText}), 3, "--seq-len N");
  check_refused(with(run, {data("dsa-mini/calibration.h5"), "--pack", "concat"}), 2,
                "--pack was given without --seq-len");
  check_refused(with(run, {kText, "-c", kText}), 2, "it consists of 2 files");
  check_refused(with(run, {kText, "--seq-len", "200000", "--pack", "concat"}), 3,
                "not enough documents");
  check_refused(with(run, {kText, "--seq-len", "100"}), 3, "too short to tell patterns apart");
  const Arguments prepare = {"prepare", "-i", kText, "-o", folder / "c.h5", "--seq-len", "600"};
  run_tool(with(prepare, {"-t", kModel + "/tokenizer.json"}));
  copy_folder(kModel, folder / "other");
  Json changed = Json::parse(read_file(folder / "other/tokenizer.json"));
  write_text(folder / "other/tokenizer.json", changed.dump());
  check_refused(
      {"run", folder / "other", "-c", folder / "c.h5", "--keep", "1/4", "-o", folder / "r"}, 3,
      "prepared with a different tokenizer");
  check_refused({"eval", golden("deepseek_v32_tiny"), "full", "-c", kText, "--seq-len", "100",
                 "--tokenizer", kModel},
                3, "does not belong to the model");
  check_refused({"inspect", data("dsa-mini/calibration.h5")}, 3, "not written by prepare");
  check_refused({"inspect", data("dsa-mini/calibration.h5")}, 3, "--calibration takes token ids");
}

TEST_CASE("a disk that is full exits 4 and leaves nothing") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 20000; ++i) {
    lines +=
        "{\"input_ids\":[" + std::to_string(i % 200) + "," + std::to_string(i / 200) + ",7]}\n";
  }
  write_text(folder / "ids.jsonl", lines);
  // A limit on the size of files, of which the output needs more than the temporary file does.
  const auto limited = [&](const std::string& blocks) {
    const std::string command =
        "trap '' XFSZ; ulimit -f " + blocks + "; cd " + folder.path().string() +
        "; " INDEXCACHE_TOOL " prepare -i ids.jsonl -o c.h5 --seq-len 8 --quiet >out 2>err";
    return WEXITSTATUS(std::system(command.c_str()));
  };
  for (const auto& [blocks, what] :
       {std::pair("100", "temporary file"), {"1000", "cannot write"}}) {
    CHECK(limited(blocks) == 4);
    CHECK_THAT(read_file(folder / "err"), Contains(what));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 3);
  }
  CHECK(limited("unlimited") == 0);
}

namespace {

// A tokenizer with the role markers of the GLM releases, and one conversation.
void write_glm_chat(const TempFolder& folder) {
  Json tokenizer = Json::parse(read_file(golden("tokenizers/glm_tokenizer.json")));
  for (const char* content :
       {"[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"}) {
    const std::size_t id = 521 + tokenizer["added_tokens"].size();
    tokenizer["added_tokens"].push_back({{"id", id}, {"content", content}, {"special", true}});
  }
  write_text(folder / "tokenizer.json", tokenizer.dump());
  std::string question;
  for (int i = 0; i < 40; ++i) question += "why ";
  write_text(folder / "chat.jsonl", R"({"messages": [{"role": "user", "content": ")" + question +
                                        R"("}, {"role": "assistant", "content": "so"}]})");
}

// The lines by which the releases' templates are distinguished.
constexpr const char* kGlm52Template =
    "[gMASK]<sop>\n{%- set effective_reasoning_effort = 'high' if reasoning_effort is defined and "
    "reasoning_effort == 'high' else 'max' -%}<|system|>Reasoning Effort: {{ x }}"
    "{%- if ((clear_thinking is defined and not clear_thinking) or y) -%}";
constexpr const char* kGlm53Template =
    "[gMASK]<sop>\n{%- set e = reasoning_effort if reasoning_effort is defined and "
    "reasoning_effort in ['low', 'high'] else 'max' -%}<|system|>Reasoning Effort: {{ x }}"
    "{%- set clear_thinking = clear_thinking if clear_thinking is defined else false -%}";

}  // namespace

TEST_CASE("the chat template next to the tokenizer decides which GLM release it is") {
  const TempFolder folder;
  write_glm_chat(folder);
  const Arguments prepare = {
      "prepare",   "-i", folder / "chat.jsonl", "-t", folder.path(), "-o", folder / "c.h5",
      "--seq-len", "64", "--holdout",           "0"};
  // The model's own schedule is no evidence: a pattern may have been written into its config.json.
  for (const char* family : {"", "glm_moe_dsa_tiny", "glm_moe_dsa_shared_tiny"}) {
    if (*family != '\0') {
      Json config = Json::parse(read_file(golden(family) / "config.json"));
      config["vocab_size"] = 600;
      write_text(folder / "config.json", config.dump());
    }
    check_refused(prepare, 3, "GLM-5, 5.1, 5.2 and 5.3 have different ones");
    check_refused(prepare, 3, "--chat-format");
  }
  write_text(folder / "chat_template.jinja", kGlm52Template);
  const ProcessResult second = run_tool(prepare);
  INFO(second.err);
  CHECK_THAT(second.out, Contains("chats as glm-5.2") && Contains("[gMASK]<sop><|system|>Reason"));
  write_text(folder / "chat_template.jinja", kGlm53Template);
  CHECK_THAT(run_tool(prepare).out, Contains("chats as glm-5.3"));
  // What a comment quotes is not what is rendered.
  write_text(folder / "chat_template.jinja", std::string("{# ") + kGlm52Template + " #}");
  check_refused(prepare, 3, "chat_template.jinja is not the template of GLM-5, 5.1, 5.2 or 5.3");
  CHECK_THAT(run_tool(with(prepare, {"--chat-format", "glm-5.1"})).out,
             Contains("chats as glm-5.1"));
  std::filesystem::remove(folder / "chat_template.jinja");
  write_text(folder / "tokenizer_config.json", Json{{"chat_template", kGlm53Template}}.dump());
  CHECK_THAT(run_tool(prepare).out, Contains("chats as glm-5.3"));
  const Json tool_use{{"name", "tool_use"}, {"template", kGlm53Template}};
  const Json usual{{"name", "default"}, {"template", kGlm52Template}};
  write_text(folder / "tokenizer_config.json", Json{{"chat_template", {tool_use, usual}}}.dump());
  CHECK_THAT(run_tool(prepare).out, Contains("chats as glm-5.2"));
  write_text(folder / "tokenizer_config.json", Json{{"chat_template", {tool_use}}}.dump());
  check_refused(prepare, 3, "there is no chat_template.jinja");
  // A file that cannot be read is no obstacle for text.
  write_text(folder / "tokenizer_config.json", "{");
  check_refused(prepare, 3, "tokenizer_config.json is not the template of GLM-5, 5.1, 5.2 or 5.3");
  write_text(folder / "chat.jsonl", R"({"text": ")" + std::string(400, 'x') + " why\"}\n");
  CHECK(run_tool(prepare).code == 0);
}

TEST_CASE("a chat format of another family is pointed out") {
  const TempFolder folder;
  write_glm_chat(folder);
  write_text(folder / "chat_template.jinja", kGlm52Template);
  std::string chats;
  for (int i = 0; i < 12; ++i) {
    std::string chat = read_file(folder / "chat.jsonl");
    chats += chat.insert(chat.find("why"), std::to_string(i) + " ") + "\n";  // no two are equal
  }
  write_text(folder / "chats.jsonl", chats);
  for (const char* family : {"deepseek_v32_tiny", "glm_moe_dsa_tiny"}) {
    Json config = Json::parse(read_file(golden(family) / "config.json"));
    config["vocab_size"] = 600;
    write_text(folder / "config.json", config.dump());
    const ProcessResult plan = run_tool({"plan", folder.path(), "-c", folder / "chats.jsonl",
                                         "--seq-len", "64", "--keep", "3", "--device", "cpu"});
    INFO(plan.err);
    CHECK(plan.code == 0);
    const bool other = std::string(family) == "deepseek_v32_tiny";
    const std::string warning = "rendered as glm-5.2, but DeepSeek-V3.2 uses deepseek-v3.2";
    const bool warned = plan.err.find(warning) != std::string::npos;
    CHECK(warned == other);
  }
}

TEST_CASE("prepare refuses what it cannot write or does not know") {
  const TempFolder folder;
  const Arguments prepare = {"prepare", "-i", kText, "-t", kModel};
  check_refused(with(prepare, {"-o", folder / "c.h5"}), 2, "seq-len");
  check_refused(with(prepare, {"-o", folder / "c.txt", "--seq-len", "600"}), 2, ".h5");
  check_refused(with(prepare, {"-o", folder / "no/c.h5", "--seq-len", "600"}), 3, "does not exist");
  check_refused(with(prepare, {"-o", folder / "c.h5", "--seq-len", "9000", "--pack", "concat"}), 3,
                "max_position_embeddings");
  check_refused(with(prepare, {"-o", folder / "c.h5", "--seq-len", "600", "--pack", "tight"}), 2,
                "--pack");
  check_refused(with(prepare, {"-o", folder / "c.h5", "--seq-len", "600", "--sequences", "999"}), 3,
                "--allow-shortfall");
  CHECK(!std::filesystem::exists(folder / "c.h5"));
  write_text(folder / "c.h5", "something else");
  check_refused(with(prepare, {"-o", folder / "c.h5", "--seq-len", "600"}), 3,
                "would overwrite a file");
  CHECK(read_file(folder / "c.h5") == "something else");
  std::filesystem::remove(folder / "c.h5");
  write_text(folder / "a.txt", read_file(kText));
  const Arguments whole = {
      "prepare",   "-i",  folder.path(), "-t",     kModel,   "-o",    folder / "c.h5",
      "--seq-len", "600", "--pack",      "concat", "--long", "split", "--holdout",
      "0"};
  CHECK(run_tool(whole).code == 0);
  check_refused(whole, 3, "one of the inputs");
}
