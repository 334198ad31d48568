// SPDX-License-Identifier: Apache-2.0
// What is not read of a model is reported or refused, and what a command does not need cannot stop
// it.
#include "support/catch.h"
#include "support/model_copy.h"

#include <cstring>

using namespace indexcache;
using namespace indexcache::test;

namespace {

ProcessResult eval(const ModelCopy& model) {
  return run_tool({"eval", model.path(), "full", "-c", write_ids(model.folder)});
}

void check_refused(const ProcessResult& result, const std::vector<std::string>& parts) {
  INFO(result.err);
  CHECK(result.code == 3);
  for (const std::string& part : parts) CHECK_THAT(result.err, Contains(part));
}

void add(const ModelCopy& model, const StoredTensor& tensor) {
  model.change_tensors([&](std::vector<StoredTensor>& tensors) { tensors.push_back(tensor); });
}

std::string floats(std::size_t count) {
  return bytes_of(std::vector<float>(count, 1));
}

}  // namespace

TEST_CASE("two RoPE descriptions that differ are refused, naming both keys") {
  const ModelCopy model("glm_moe_dsa_tiny");
  model.change_config([](Json& config) {
    config["rope_scaling"] = {
        {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  });
  check_refused(eval(model), {"contradicts itself about RoPE", "rope_parameters has type default",
                              "rope_scaling has type yarn", "theta 10000 (the default)"});
}

TEST_CASE("a bias next to a matrix that is read is refused") {
  const ModelCopy indexer, query;
  add(indexer, {"model.layers.2.self_attn.indexer.weights_proj.bias", "F32", {8}, floats(8)});
  check_refused(eval(indexer), {"a bias that the forward pass does not add",
                                "model.layers.2.self_attn.indexer.weights_proj.bias"});
  CHECK(indexer.inspect().code == 3);
  add(query, {"model.layers.0.self_attn.q_b_proj.bias", "F32", {96}, floats(96)});
  check_refused(eval(query), {"model.layers.0.self_attn.q_b_proj.bias"});
}

TEST_CASE("scales that are left over from FP8 are refused") {
  const ModelCopy model("glm_moe_dsa_fp8_tiny");
  model.change_tensors([](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.dtype != "F8_E4M3") continue;
      tensor.dtype = "BF16";
      tensor.bytes.resize(2 * tensor.bytes.size(), '\0');
    }
  });
  check_refused(eval(model), {"a leftover scale", "weight_scale_inv", "stored as BF16"});
}

TEST_CASE("tensors and keys that are not read are named by inspect, eval and run") {
  const ModelCopy model;
  add(model, {"model.layers.3.self_attn.sinks", "F32", {4}, floats(4)});
  add(model, {"model.layers.3.self_attn.k_scale", "F4", {3}, "ab"});  // a dtype that is not known
  add(model, {"model.layers.6.self_attn.sinks", "F32", {4}, floats(4)});  // of the MTP layer
  model.change_config([](Json& config) {
    config["attention_sink_size"] = 4;
    config["use_sliding_window"] = false;
  });
  const std::string tensors =
      "2 tensors of the checkpoint are ignored: "
      "model.layers.3.self_attn.k_scale, model.layers.3.self_attn.sinks";
  const std::string keys = "might change the forward pass: attention_sink_size";
  const ProcessResult shown = model.inspect();
  CHECK(shown.code == 0);
  CHECK_THAT(shown.out, Contains("warning: " + tensors) && Contains(keys + "\n"));
  const ProcessResult evaluated = eval(model);
  CHECK(evaluated.code == 0);
  CHECK_THAT(evaluated.err, Contains(tensors) && Contains(keys));
  const auto ids = write_ids(model.folder);
  const ProcessResult json = run_tool({"eval", model.path(), "full", "-c", ids, "--json"});
  CHECK_THAT(parse_json(json.out, "eval")["warnings"].dump(), Contains(tensors) && Contains(keys));
  CHECK_THAT(run_tool({"plan", model.path(), "-c", ids, "--keep", "1/2"}).err, Contains(tensors));
  REQUIRE(run_tool({"run", model.path(), "-c", ids, "--keep", "1/2", "-o", model.folder / "out"})
              .code == 0);
  const Json run = parse_json(read_file(model.folder / "out/run.json"), "run.json");
  CHECK_THAT(run["warnings"].dump(), Contains(tensors) && Contains(keys));
}

TEST_CASE("a pattern is written into a quantized twin, and only a search refuses it") {
  const std::vector<std::pair<Json, std::string>> twins = {
      {{{"quant_method", "compressed-tensors"},
        {"format", "pack-quantized"},
        {"config_groups", {{"group_0", {{"weights", {{"num_bits", 4}, {"type", "int"}}}}}}}},
       "compressed-tensors (pack-quantized, 4-bit int)"},
      {{{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}}, "ModelOpt (NVFP4)"},
      {{{"quant_method", "awq"}, {"bits", 4}}, "AWQ (4-bit)"},
      {{{"quant_method", "w4afp8"}}, "W4AFP8"},
      {{{"quant_method", "mxfp4"}}, "MXFP4"},
      {{{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}, "bitsandbytes (8-bit)"},
      {"none", "quantization_config is not an object"},
  };
  for (const auto& [quantization, title] : twins) {
    const ModelCopy model;
    model.change_config([&q = quantization](Json& config) { config["quantization_config"] = q; });
    INFO(title);
    const ProcessResult exported = run_tool({"export", "FFSFSS", "-e", "vllm", "--model",
                                             model.path(), "--write-config", model.folder / "out"});
    CHECK(exported.code == 0);
    CHECK(std::filesystem::exists(model.folder / "out/config.json"));
    const ProcessResult shown = model.inspect();
    CHECK(shown.code == 0);
    CHECK_THAT(shown.out, Contains("FFFFFF") && Contains(title) && Contains("cannot use"));
    check_refused(eval(model), {"weight format is not supported", title, "BF16, F16, F32",
                                "search on the checkpoint that this one was made from"});
    check_refused(run_tool({"plan", model.path(), "-c", write_ids(model.folder), "--keep", "1/2"}),
                  {title});
  }
}

TEST_CASE("formats are known by their tensors if config.json does not tell") {
  const ModelCopy packed, int8;
  packed.change_tensors([](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name.ends_with("q_b_proj.weight")) tensor.name += "_packed";
      if (tensor.name.ends_with("indexer.wk.weight")) tensor.name += "_packed";
    }
  });
  check_refused(eval(packed), {"not supported", "compressed-tensors (weight_packed)"});
  CHECK_THAT(packed.inspect().out, Contains("6 of 6 layers"));
  int8.change_tensors([](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (!tensor.name.ends_with("o_proj.weight")) continue;
      tensor.dtype = "I8";
      tensor.bytes.resize(tensor.bytes.size() / 4);
    }
  });
  check_refused(eval(int8), {"not supported", "int8 (I8)"});
}

TEST_CASE("inspect needs no weights") {
  const ModelCopy model;
  std::filesystem::remove(model.weights());
  const ProcessResult none = model.inspect();
  CHECK(none.code == 0);
  CHECK_THAT(none.out, Contains("config says  FFFFFF") && Contains("engines read") &&
                           Contains("there are no weights") && !Contains("own indexer"));
  const Json json = parse_json(run_tool({"inspect", model.path(), "--json"}).out, "stdout");
  CHECK(json["searchable"] == false);
  CHECK(json["layers"] == 6);
  CHECK_FALSE(json.contains("indexer_layers"));
  write_text(model.path() / "model.gguf", "GGUF");
  CHECK_THAT(model.inspect().out, Contains("it contains model.gguf (GGUF)"));
}

TEST_CASE("shards of MTP layers and stale copies are not needed") {
  const ModelCopy model;
  const auto tensors = read_safetensors(model.weights());
  std::vector<StoredTensor> decoder;
  Json map = Json::object();
  for (const StoredTensor& tensor : tensors) {
    const bool mtp = tensor.name.starts_with("model.layers.6.");
    map[tensor.name] = mtp ? "mtp.safetensors" : "decoder.safetensors";
    if (!mtp) decoder.push_back(tensor);
  }
  write_safetensors(model.path() / "decoder.safetensors", decoder);
  write_text(model.path() / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  write_text(model.weights(), "an old copy, cut short");
  CHECK(eval(model).code == 0);
  CHECK(model.inspect().code == 0);
  std::filesystem::remove(model.path() / "decoder.safetensors");
  check_refused(eval(model), {"a shard is missing", "decoder.safetensors"});
}

TEST_CASE("export needs no readable weights, and says what it could not check") {
  const ModelCopy model;
  const auto exported = [&] {
    return run_tool({"export", "FFSFSS", "-e", "vllm", "--model", model.path()});
  };
  write_text(model.weights(), "version https://git-lfs.github.com/spec/v1\n");
  const ProcessResult pointer = exported();
  CHECK(pointer.code == 0);
  CHECK_THAT(pointer.out, Contains("FFSFSS"));
  CHECK_THAT(pointer.err, Contains("is not checked: the file is a Git LFS pointer"));
  std::filesystem::rename(model.weights(), model.path() / "model-Q4.gguf");
  CHECK_THAT(exported().err, Contains("it contains model-Q4.gguf (GGUF)"));
  write_text(model.path() / "model.safetensors.index.json",
             R"({"weight_map":{"model.layers.0.self_attn.indexer.wk.weight":"gone.safetensors"}})");
  const ProcessResult indexed = exported();  // the index alone tells that layer 1 has no indexer
  CHECK(indexed.code == 3);
  CHECK_THAT(indexed.err, Contains("no indexer"));
}
