// SPDX-License-Identifier: Apache-2.0
// What a user meets when something is wrong: the exit code, the message, and nothing lost.
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <sys/stat.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

// A copy of the tiny DeepSeek checkpoint that a test may damage, and tokens that fit it.
struct Bench {
  Bench() {
    copy_folder(golden("deepseek_v32_tiny"), folder / "model");
    write_tokens(tokens(), 80, 319);
  }

  // Two sequences of `length` ids up to `largest`.
  static void write_tokens(const std::filesystem::path& path, int length, int largest) {
    std::string text;
    for (int s = 0; s < 2; ++s) {
      std::string ids;
      for (int t = 0; t < length; ++t) {
        const int id = t == 5 ? largest : (t * 37 + s) % (largest + 1);
        ids += (t > 0 ? "," : "") + std::to_string(id);
      }
      text += "{\"input_ids\":[" + ids + "]}\n";
    }
    write_text(path, text);
  }

  std::filesystem::path tokens() const { return folder / "tokens.jsonl"; }
  std::filesystem::path model() const { return folder / "model"; }
  std::filesystem::path output() const { return folder / "out"; }

  Arguments run_arguments() const {
    return {"run", model(), "-c", tokens(), "--keep", "1/2", "--output", output()};
  }
  ProcessResult run(const Arguments& more = {}) const {
    Arguments all = run_arguments();
    all.insert(all.end(), more.begin(), more.end());
    return run_tool(all);
  }

  template <typename Change>
  void change_tensors(Change change) const {
    auto list = read_safetensors(model() / "model.safetensors");
    for (StoredTensor& tensor : list) change(tensor);
    write_safetensors(model() / "model.safetensors", list);
  }

  void replace_in_config(const std::string& from, const std::string& to) const {
    std::string text = read_file(model() / "config.json");
    text.replace(text.find(from), from.size(), to);
    write_text(model() / "config.json", text);
  }

  TempFolder folder;
};

void check_refused(const ProcessResult& result, int code, const std::string& what) {
  INFO(result.err);
  CHECK(result.code == code);
  CHECK_THAT(result.err, Contains("error: ") && Contains(what));
  CHECK(result.out.empty());
}

}  // namespace

TEST_CASE("what needs more sequences than there are is refused, or left out if it is a default") {
  const Bench b;
  check_refused(b.run({"--confidence", "0.95"}), 2, "races are not possible");
  check_refused(b.run({"--max-rise", "0.1", "--holdout", "0.5"}), 2, "there is only 1");
  check_refused(b.run({"--stability"}), 2, "each half needs two calibration sequences");
  const ProcessResult result = b.run();
  CHECK(result.code == 0);
  CHECK_THAT(result.err, Contains("every pattern is measured on every sequence"));
}

TEST_CASE("a sound run succeeds") {
  const Bench bench;
  const ProcessResult result = bench.run();
  INFO(result.err);
  CHECK(result.code == 0);
}

TEST_CASE("usage errors exit 2 and point to the help") {
  const Bench b;
  check_refused(run_tool({"run", "--kep", "1/4"}), 2, "--kep");
  CHECK_THAT(run_tool({"run", "--kep", "1/4"}).err, Contains("try: indexcache-search run --help"));
  check_refused(run_tool({"run", "--kep=1/4"}), 2, "did you mean \"--keep\"?");
  check_refused(run_tool({"rnu"}), 2, "did you mean \"run\"?");
  check_refused(run_tool({"search"}), 2, "unknown command \"search\"");
  check_refused(run_tool({"inspect", "a", "b"}), 2, "unexpected argument \"b\"");
  check_refused(run_tool({"run"}), 2, "MODEL, --calibration and --output are required");
  check_refused(run_tool({"run", b.model(), "-c", b.tokens()}), 2, "--output is required");
  check_refused(run_tool({"run", b.model(), "-c", b.tokens(), "-o", b.output()}), 2,
                "no target was given");
  check_refused(b.run({"--keep", "0"}), 2, "expected a ratio");
  check_refused(b.run({"--keep", "3/2"}), 2, "a ratio is at most 1");
  check_refused(b.run({"--keep", "99"}), 2, "patterns of this model have only 6 layers");
  check_refused(b.run({"--remove", "6"}), 2, "cannot be reached");
  check_refused(b.run({"--strategy", "greddy"}), 2, "--strategy");
  check_refused(b.run({"--precision", "fp16"}), 2,
                "--precision: \"fp16\" is not one of fp32, bf16, fp8\n");
  check_refused(b.run({"--precision", "bf16", "--device", "cpu"}), 2,
                "try: --device cuda, or --precision fp32");
  check_refused(b.run({"--pp-size", "x"}), 2, "--pp-size: \"x\" is not a number that it takes");
  for (const char* confidence : {"2", "0.5", "1", "-1", "nan", "x", ""}) {
    check_refused(b.run({"--confidence", confidence}), 2, "invalid value for --confidence");
  }
  for (const char* rise : {"0", "-0.1", "inf", "nan"}) {
    check_refused(b.run({"--max-rise", rise}), 2, "invalid value for --max-rise");
  }
  check_refused(b.run({"--max-rise", "x"}), 2, "--max-rise");
  check_refused(b.run({"--stability", "--strategy", "greedy"}), 2, "segments is not among them");
  check_refused(b.run({"--stability", "--confidence", "0.9"}), 2, "races leave some out");
  check_refused(b.run({"--pin-full", "6"}), 2, "layer 6 cannot be pinned");
  check_refused(b.run({"--pp-size", "7"}), 2, "7 pipeline stages");
  check_refused(b.run({"--pp-partition", "3,2"}), 2, "5 layers in total");
  check_refused(b.run({"--pp-partition", "3,3", "--pp-size", "2"}), 2, "--pp-size");
  check_refused(b.run({"--keep", "1/3", "--pp-size", "3"}), 2, "at least 3 must stay F");
  check_refused(b.run({"--pin-shared", "0"}), 2, "layer 0 cannot be pinned shared");
  check_refused(b.run({"--pin-shared", "6"}), 2, "layers 0 to 5");
  check_refused(b.run({"--pin-shared", "3", "--pp-size", "2"}), 2, "a pipeline stage keeps it");
  check_refused(b.run({"--pin-shared", "2", "--pin-full", "2"}), 2, "--pin-full");
  check_refused(b.run({"--pin-shared", "1,2,3,4"}), 2, "4 must become S");
  check_refused(b.run({"--pin-shared", "1,2,3", "--max-run", "2"}), 2, "no pattern meets all");
  check_refused(b.run({"--keep", "1", "--max-run", "2"}), 2, "at least 2 must stay F");
  check_refused(b.run({"--native-sharing"}), 2, "contains no sharing schedule");
  check_refused(b.run({"--pin-full", "1,2,3,4"}), 2, "cannot be reached");
  check_refused(b.run({"--holdout", "1.5"}), 2, "invalid value for --holdout");
  for (const char* budget : {"4", "h", "-1s", "1h x", "0s", "1d", "nans"}) {
    check_refused(b.run({"--budget", budget}), 2, "invalid duration for --budget");
  }
  check_refused(b.run({"--device", "quantum"}), 2, "unknown device");
  check_refused(b.run({"--device", "cuda:one"}), 2, "unknown device");
  check_refused(b.run({"--device", "cpu", "--precision", "bf16"}), 2, "only fp32");
  check_refused(b.run({"--indexer-precision", "fp2"}), 2, "--indexer-precision");
  check_refused(b.run({"--precision", "fp8"}), 2, "--precision");
  check_refused(b.run({"--threads", "-1"}), 2, "--threads");
  CHECK(run_tool({}).code == 2);
  CHECK_FALSE(std::filesystem::exists(b.output()));
}

TEST_CASE("a GPU that is not there exits 4, whatever the build") {
  const Bench b;
  for (const char* device : {"cuda", "cuda:1"}) {
    const auto result = run_tool({"eval", b.model(), "full", "-c", b.tokens(), "--device", device},
                                 {"CUDA_VISIBLE_DEVICES="});
    check_refused(result, 4, std::string("--device ") + device + "\n");
    CHECK_THAT(result.err, Contains("try: --device cpu"));
  }
}

TEST_CASE("a model that is missing or incomplete exits 3") {
  const Bench b;
  check_refused(run_tool({"inspect", b.folder / "nowhere"}), 3, "the model folder does not exist");
  std::filesystem::rename(b.model() / "model.safetensors", b.model() / "aside");
  check_refused(b.run(), 3, "no weights in the model folder");
  write_text(b.model() / "model.safetensors.index.json",
             R"({"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors"}})");
  check_refused(b.run(), 3, "a shard is missing");
  CHECK_FALSE(std::filesystem::exists(b.output()));
}

TEST_CASE("a truncated file of tokens exits 3") {
  const Bench b;
  const std::string whole = read_file(data("dsa-mini/calibration.h5"));
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, whole.size() / 2}) {
    const std::filesystem::path part = b.folder / "part.h5";
    write_text(part, whole.substr(0, bytes));
    check_refused(run_tool({"eval", b.model(), "full", "-c", part}), 3,
                  "it is not an HDF5 file, or only a part of one");
  }
}

TEST_CASE("a truncated or lying weight file exits 3") {
  const Bench b;
  const auto file = b.model() / "model.safetensors";
  const std::string whole = read_file(file);
  write_text(file, whole.substr(0, whole.size() - 100));
  check_refused(b.run(), 3, "it looks truncated");
  write_text(file, whole.substr(0, 500));
  check_refused(b.run(), 3, "it looks truncated");
  std::string lying = whole;
  const std::uint64_t huge = std::uint64_t{1} << 60;
  std::memcpy(lying.data(), &huge, sizeof(huge));
  write_text(file, lying);
  check_refused(b.run(), 3, "more than the format's");
}

TEST_CASE("tensors that do not fit the config exit 3") {
  const std::string name = "model.layers.4.self_attn.kv_b_proj.weight";
  const Bench missing, shape, dtype;
  missing.change_tensors([&](StoredTensor& t) { t.name += t.name == name ? "x" : ""; });
  check_refused(missing.run(), 3, name);
  shape.change_tensors([&](StoredTensor& t) {
    if (t.name == name) std::swap(t.shape[0], t.shape[1]);
  });
  check_refused(shape.run(), 3, "wrong shape");
  dtype.change_tensors([&](StoredTensor& t) {
    if (t.name == name) t.dtype = "I32";
  });
  check_refused(dtype.run(), 3, "packed numbers (I32)");
}

TEST_CASE("weights that are not finite exit 3 and are named") {
  const Bench b;
  b.change_tensors([](StoredTensor& t) {
    if (t.name != "model.layers.3.mlp.gate.weight") return;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(t.bytes.data() + 8, &nan, sizeof(nan));
  });
  const ProcessResult result = b.run();
  check_refused(result, 3, "a weight is not finite");
  CHECK_THAT(result.err, Contains("model.layers.3.mlp.gate.weight"));
}

TEST_CASE("a loss that is not finite exits 3") {
  const Bench b;
  b.change_tensors([](StoredTensor& t) {
    if (t.name == "model.norm.weight") t.bytes = bytes_of(std::vector<float>(64, 3e38f));
  });
  check_refused(b.run(), 3, "the loss is not finite");
}

TEST_CASE("config values out of range and other families exit 3") {
  const Bench range, family;
  range.replace_in_config("\"index_topk\": 16", "\"index_topk\": 0");
  check_refused(range.run(), 3, "index_topk");
  family.replace_in_config("DeepseekV32ForCausalLM", "Glm5NextForCausalLM");
  check_refused(family.run(), 3, "Glm5NextForCausalLM is not supported");
  const Bench mistral;
  mistral.replace_in_config("DeepseekV32ForCausalLM", "MistralLarge4ForConditionalGeneration");
  mistral.replace_in_config("deepseek_v32", "mistral_large4");
  check_refused(mistral.run(), 3, "Mistral Large 4 reads keys of other layers");
}

TEST_CASE("patterns that do not fit exit 3") {
  const Bench b;
  const auto eval = [&](const std::string& pattern, const std::filesystem::path& model) {
    return run_tool({"eval", model, pattern, "-c", b.tokens()});
  };
  check_refused(eval("FFF", b.model()), 3, "wrong length");
  check_refused(eval("FFFXFF", b.model()), 3, "other than F and S");
  check_refused(eval("SFFFFF", b.model()), 3, "starts with S");
  check_refused(eval("uniform:0", b.model()), 3, "not a pattern");
  for (const char* missing : {"no/such/file.yaml", "nosuchrun"}) {
    check_refused(eval(missing, b.model()), 3, "no file or folder has this name");
    check_refused(run_tool({"export", missing, "--engine", "vllm"}), 3,
                  "no file or folder has this name");
  }
  check_refused(eval("FFFFSSFS", golden("glm_moe_dsa_shared_tiny")), 3, "has no indexer");
  check_refused(eval("uniform:2", golden("glm_moe_dsa_shared_tiny")), 3, "has no indexer");
}

TEST_CASE("calibration data that cannot work exits 3") {
  const Bench b;
  Bench::write_tokens(b.tokens(), 80, 320);
  check_refused(b.run(), 3, "outside the vocabulary");
  Bench::write_tokens(b.tokens(), 16, 100);
  check_refused(b.run(), 3, "too short to tell patterns apart");
  const Arguments along = {"overlap",         b.model(),  "-c",      b.tokens(),
                           "--along-queries", "--output", b.output()};
  check_refused(run_tool(along), 3, "too short to tell patterns apart");
  Bench::write_tokens(b.tokens(), 17, 100);  // one query selects
  check_refused(run_tool(along), 3, "too short to compare neighboring queries");
  CHECK_FALSE(std::filesystem::exists(b.output()));
  write_text(b.tokens(), "");
  check_refused(b.run(), 3, "no sequence");
  std::filesystem::remove(b.tokens());
  check_refused(b.run(), 3, "it does not exist");
  Bench::write_tokens(b.tokens(), 60, 100);
  CHECK_THAT(b.run().err, Contains("warning") && Contains("4 x index_topk"));
}

TEST_CASE("an output folder that cannot be used exits 3 and keeps what it holds") {
  const Bench b;
  write_text(b.output(), "a file");
  check_refused(b.run(), 3, "the output folder cannot be used");
  CHECK(read_file(b.output()) == "a file");
  std::filesystem::remove(b.output());
  std::filesystem::create_directory(b.output());
  write_text(b.output() / "thesis.txt", "do not lose");
  check_refused(b.run(), 3, "files that this tool did not write");
  check_refused(b.run({"--restart"}), 3, "files that this tool did not write");
  CHECK(read_file(b.output() / "thesis.txt") == "do not lose");
  const Arguments unwritable = {"run",    b.model(), "-c",       b.tokens(),
                                "--keep", "1/2",     "--output", "/proc/nowhere"};
  check_refused(run_tool(unwritable), 3, "the output folder cannot be used");
}

TEST_CASE("another run in the folder exits 5, names the difference and keeps it") {
  const Bench b;
  REQUIRE(b.run().code == 0);
  const std::string journal = read_file(b.output() / "journal.jsonl");
  const std::string pattern = read_file(b.output() / "pattern.yaml");
  check_refused(b.run({"--pin-full", "3"}), 5, "pin-full was \"\" and is now \"3\"");
  check_refused(b.run({"--holdout", "0"}), 5, "different calibration tokens: the sha256 was ");
  check_refused(b.run({"--mla-norm-eps", "1e-5"}), 5, "mla-norm-eps");
  CHECK(read_file(b.output() / "journal.jsonl") == journal);
  CHECK(read_file(b.output() / "pattern.yaml") == pattern);
  check_refused(run_tool({"overlap", b.model(), "-c", b.tokens(), "-o", b.output()}), 3,
                "the output folder cannot be used");
  CHECK(b.run({"--pin-full", "3", "--restart"}).code == 0);
  CHECK(read_file(b.output() / "journal.jsonl") != journal);
}
