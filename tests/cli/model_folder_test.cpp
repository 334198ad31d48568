// SPDX-License-Identifier: Apache-2.0
// Model folders as people have them: copies, caches, pointers, other formats, many shards.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/model_copy.h"
#include "support/process.h"

#include <algorithm>
#include <sys/resource.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

void check_refused(const ProcessResult& result, int code, const std::vector<std::string>& parts) {
  INFO(result.err);
  CHECK(result.code == code);
  for (const std::string& part : parts) CHECK_THAT(result.err, Contains(part));
}

}  // namespace

TEST_CASE("model_type decides if there are no architectures") {
  const ModelCopy model;
  model.change_config([](Json& config) { config.erase("architectures"); });
  const ProcessResult result = model.inspect();
  CHECK(result.code == 0);
  CHECK_THAT(result.out, Contains("m (DeepseekV32ForCausalLM)"));
}

TEST_CASE("a dense name on a model with an indexer is a contradiction that says what to change") {
  const ModelCopy model;
  model.change_config([](Json& config) {
    config["architectures"] = {"DeepseekV3ForCausalLM"};
    config["model_type"] = "deepseek_v3";
  });
  check_refused(model.inspect(), 3,
                {"contradicts itself", "index_topk 16", "DeepseekV3ForCausalLM",
                 R"(set "architectures": ["DeepseekV32ForCausalLM"])"});
}

TEST_CASE("a model that AutoModel saved is told from its tensors' names") {
  const ModelCopy model("glm_moe_dsa_tiny");
  model.change_config([](Json& config) { config["architectures"] = {"GlmMoeDsaModel"}; });
  CHECK(model.inspect().code == 0);  // the name does not matter as long as the tensors are there
  model.change_tensors([](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name.starts_with("model.")) tensor.name.erase(0, 6);
    }
  });
  check_refused(model.inspect(), 3, {"lack \"model.\"", "AutoModelForCausalLM"});
}

TEST_CASE("a Git LFS pointer in place of a shard, a tokenizer or a config is called so") {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\n"
      "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
      "size 5234139343\n";
  const ModelCopy model;
  write_text(model.weights(), pointer);
  check_refused(model.inspect(), 3, {"is a Git LFS pointer", "git lfs pull"});
  write_text(model.path() / "tokenizer.json", pointer);
  write_text(model.folder / "a.jsonl", "{\"text\": \"a\"}\n");
  check_refused(run_tool({"prepare", "--input", model.folder / "a.jsonl", "--tokenizer",
                          model.path(), "--seq-len", "8", "--output", model.folder / "x.h5"}),
                3, {"is a Git LFS pointer, not JSON", "git lfs pull"});
  write_text(model.path() / "config.json", "<html><body>Log in</body></html>");
  check_refused(model.inspect(), 3, {"is an HTML or XML page, not JSON", "hf auth login"});
}

TEST_CASE("weights are read without their index, and other forms are named") {
  const ModelCopy model;
  const auto rename = [&](const std::string& from, const std::string& to) {
    std::filesystem::rename(model.path() / from, model.path() / to);
  };
  rename("model.safetensors", "model-00001-of-00001.safetensors");
  CHECK(model.inspect().code == 0);
  rename("model-00001-of-00001.safetensors", "consolidated.safetensors");
  CHECK(model.inspect().code == 0);
  const auto eval = [&] {
    return run_tool({"eval", model.path(), "full", "-c", write_ids(model.folder)});
  };
  rename("consolidated.safetensors", "model-Q4_K_M.gguf");
  check_refused(eval(), 3,
                {"it contains model-Q4_K_M.gguf (GGUF)", "use the safetensors checkpoint"});
  rename("model-Q4_K_M.gguf", "pytorch_model.bin");
  check_refused(eval(), 3, {"it contains pytorch_model.bin (PyTorch)", "save_pretrained"});
}

TEST_CASE("a model in a Hugging Face cache is called by its repository") {
  const TempFolder cache;
  const std::filesystem::path entry = cache / "models--org--Tiny";
  const std::filesystem::path snapshot = entry / "snapshots/0a1b2c";
  std::filesystem::create_directories(entry / "blobs");
  std::filesystem::create_directories(entry / "refs");
  std::filesystem::create_directories(snapshot);
  write_text(entry / "refs/main", "0a1b2c");
  for (const char* name : {"config.json", "model.safetensors"}) {
    std::filesystem::copy(golden("deepseek_v32_tiny") / name, entry / "blobs" / name);
    std::filesystem::create_symlink(std::filesystem::path("../../blobs") / name, snapshot / name);
  }
  const ProcessResult direct = run_tool({"inspect", snapshot});
  CHECK_THAT(direct.out, Contains("model        org/Tiny (") && Contains("revision     0a1b2c"));
  CHECK(run_tool({"inspect", entry}).out == direct.out);
  CHECK_THAT(run_tool({"export", "FFSFSS", "-e", "vllm", "-m", entry}).out, Contains("FFSFSS"));
  REQUIRE(
      run_tool({"run", entry, "-c", write_ids(cache), "--keep", "1/2", "-o", cache / "out"}).code ==
      0);
  const Json run = parse_json(read_file(cache / "out/run.json"), "run.json");
  CHECK(run["model"]["name"] == "org/Tiny");
  check_refused(run_tool({"inspect", "org/Tiny"}, {"HF_HUB_CACHE=" + cache.path().string()}), 3,
                {"the model folder does not exist", entry.string()});
  check_refused(run_tool({"inspect", "org/Tiny"}), 3, {"hf download org/Tiny"});
  std::filesystem::remove(entry / "blobs/model.safetensors");
  check_refused(run_tool({"inspect", snapshot}), 3,
                {"its target ../../blobs/model.safetensors is missing", "incomplete"});
}

TEST_CASE("many shards do not fail on a low limit of open files that can be raised") {
  const ModelCopy model;
  const auto tensors = read_safetensors(model.weights());
  std::filesystem::remove(model.weights());
  constexpr std::size_t kShards = 60;
  Json map = Json::object();
  for (std::size_t shard = 0; shard < kShards; ++shard) {
    const std::string file = "part-" + std::to_string(shard) + ".safetensors";
    const auto at = [&](std::size_t s) {
      return tensors.begin() + static_cast<std::ptrdiff_t>(s * tensors.size() / kShards);
    };
    write_safetensors(model.path() / file, {at(shard), at(shard + 1)});
    std::for_each(at(shard), at(shard + 1), [&](const auto& tensor) { map[tensor.name] = file; });
  }
  write_text(model.path() / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit limit = before;
  limit.rlim_cur = 40;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  const ProcessResult soft = model.inspect();
  setrlimit(RLIMIT_NOFILE, &before);
  INFO(soft.err);
  CHECK(soft.code == 0);
}

TEST_CASE("a limit of open files that cannot be raised exits 4 and says so") {
  const ModelCopy model("glm_moe_dsa_shared_tiny");
  const std::string command = "(ulimit -n 5; exec '" + std::string(INDEXCACHE_TOOL) +
                              "' inspect '" + model.path().string() + "') 2>'" +
                              (model.folder / "err").string() + "'";
  const int status = std::system(command.c_str());
  const std::string err = read_file(model.folder / "err");
  INFO(err);
  CHECK(WEXITSTATUS(status) == 4);
  CHECK_THAT(err, Contains("Too many open files") && Contains("try: ulimit -n"));
}

TEST_CASE("a path that cannot be examined is the user's, not a bug") {
  const TempFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  check_refused(run_tool({"inspect", folder / "loop"}), 3, {"Too many levels of symbolic links"});
  check_refused(run_tool({"inspect", std::string(5000, 'a')}), 3, {"File name too long", "aaa..."});
}
