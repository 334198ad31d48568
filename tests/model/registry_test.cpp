// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "model/families/families.h"
#include "model/model.h"
#include "model/sizes.h"
#include "model/tensor_registry.h"
#include "model/weights.h"
#include "support/catch.h"
#include "support/files.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A tiny checkpoint with its list of tensors changed; what open_model says.
template <typename Change>
std::string refusal(Change change, const std::string& name = "deepseek_v32_tiny") {
  const TempFolder folder;
  copy_folder(golden(name), folder.path());
  auto tensors = read_safetensors(folder / "model.safetensors");
  change(tensors);
  write_safetensors(folder / "model.safetensors", tensors);
  try {
    open_model(folder.path());
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

StoredTensor& find(std::vector<StoredTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &StoredTensor::name);
}

void remove_all(std::vector<StoredTensor>& tensors, const std::string& part) {
  std::erase_if(tensors,
                [&](const StoredTensor& t) { return t.name.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("a config implies the released model's parameters") {
  // Shapes of DeepSeek-V3.2: 671.8 B parameters (specs count the MTP layer apart).
  ModelConfig c{};
  c.hidden = 7168, c.vocabulary = 129280, c.layers = 61, c.heads = 128;
  c.q_lora_rank = 1536, c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128, c.qk_rope_head_dim = 64, c.v_head_dim = 128;
  c.index_heads = 64, c.index_head_dim = 128;
  c.intermediate = 18432, c.moe_intermediate = 2048, c.routed_experts = 256, c.shared_experts = 1;
  c.moe_layer.assign(61, true);
  for (std::size_t layer : {0, 1, 2}) c.moe_layer[layer] = false;
  c.family = &kDeepseekV32;
  std::int64_t parameters = parameters_of(c.family->outer_weights(c));
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    parameters += parameters_of(c.family->layer_weights(c, layer));
  }
  CHECK(static_cast<double>(parameters) / 1e9 == Approx(671.8).epsilon(0.001));
}

TEST_CASE("ownership of indexers follows the tensors, MTP layers do not count") {
  const Model shared = open_model(golden("glm_moe_dsa_shared_tiny"));
  CHECK(shared.baseline().text() == "FFFSSSFS");
  const Model deepseek = open_model(golden("deepseek_v32_tiny"));
  CHECK(deepseek.baseline().text() == "FFFFFF");
  CHECK(deepseek.checkpoint.contains("model.layers.6.self_attn.indexer.k_norm.weight"));
}

TEST_CASE("tensors decide ownership if the sharing keys of config.json are no schedule") {
  const TempFolder folder;
  copy_folder(golden("glm_moe_dsa_shared_tiny"), folder.path());
  Json config = parse_json(read_file(folder / "config.json"), "config.json");
  config["index_topk_pattern"] = "FFFSSS";  // eight layers; vLLM would run the last two
  config.erase("indexer_types");
  write_text(folder / "config.json", config.dump());
  const Model model = open_model(folder.path());
  CHECK(model.baseline().text() == "FFFSSSFS");
  CHECK(model.config.native_full == model.has_indexer);
  CHECK_THAT(model.config.sharing_problem, Contains("6 entries for 8 layers"));
  CHECK_THROWS_WITH(expect_model(folder.path()), Contains("which layers own an indexer"));
}

TEST_CASE("a missing, misshapen or mistyped tensor is named") {
  const std::string q_a = "model.layers.3.self_attn.q_a_proj.weight";
  CHECK(refusal([](auto&) {}) == "accepted");
  CHECK_THAT(refusal([&](auto& t) { remove_all(t, q_a); }),
             Contains("a tensor is missing") && Contains(q_a));
  CHECK_THAT(refusal([&](auto& t) { std::swap(find(t, q_a).shape[0], find(t, q_a).shape[1]); }),
             Contains("wrong shape") && Contains("[64, 48]") && Contains("[48, 64]"));
  CHECK_THAT(refusal([&](auto& t) { find(t, q_a).dtype = "I32"; }),
             Contains("packed numbers (I32)"));
  CHECK_THAT(refusal([](auto& t) { remove_all(t, "layers.2.self_attn.indexer.wk"); }),
             Contains("layers.2.self_attn.indexer.wk"));
  CHECK_THAT(refusal([](auto& t) { remove_all(t, "layers.2.self_attn.indexer."); }),
             Contains("layers.2.self_attn.indexer.wq_b"));
}

TEST_CASE("tensors of Hy4: a number without a shape, stacked experts, sinks and streams") {
  const auto changed = [](auto change) { return refusal(change, "hy_v4_tiny"); };
  CHECK(changed([](auto& tensors) { find(tensors, "model.hc_head.hc_head_scale").shape = {}; }) ==
        "accepted");
  CHECK_THAT(changed([](auto& tensors) { remove_all(tensors, "layers.3.mlp.experts."); }),
             Contains("model.layers.3.mlp.experts.gate_up_proj"));
  for (const char* name :
       {"model.layers.2.self_attn.learnable_sink_param",
        "model.layers.2.self_attn.linear_gate.weight", "model.layers.2.hc_mlp_layer.hc_pre.hc_fn",
        "model.hc_head.hc_head_base"}) {
    CHECK_THAT(changed([&](auto& tensors) { remove_all(tensors, name); }), Contains(name));
  }
  CHECK_THAT(changed([](auto& tensors) {
               find(tensors, "model.layers.2.hc_attn_layer.hc_pre.hc_fn").shape = {128, 8};
             }),
             Contains("[128, 8]") && Contains("[8, 128]"));
}

TEST_CASE("an indexer in layer 0 is indispensable") {
  const TempFolder folder;
  copy_folder(golden("glm_moe_dsa_tiny"), folder.path());
  std::filesystem::remove(folder / "config.json");
  CHECK_THROWS_AS(open_model(folder.path()), InputError);
  CHECK_THROWS_AS(open_model(folder / "nowhere"), InputError);
}

TEST_CASE("names of another convention are told from missing tensors") {
  const auto prefixed = [](const std::string& prefix) {
    return refusal([&](auto& tensors) {
      for (StoredTensor& t : tensors) {
        if (t.name.starts_with("model.")) t.name = prefix + t.name.substr(6);
      }
    });
  };
  CHECK_THAT(prefixed(""), Contains("lack \"model.\"") && Contains("AutoModelForCausalLM"));
  CHECK_THAT(prefixed("language_model.model."), Contains("begin with \"language_model.model.\""));
  CHECK_THAT(refusal([](auto& t) { find(t, "model.embed_tokens.weight").name = "embed.weight"; }),
             Contains("DeepSeek's own inference code"));
}

TEST_CASE("owners of indexers are read from names in any format, whatever their prefix") {
  const std::vector<std::string> names = {"model.layers.0.self_attn.indexer.wk.weight_packed",
                                          "language_model.layers.2.self_attn.indexer.wq_b.qweight",
                                          "model.layers.1.self_attn.q_a_proj.weight",
                                          "model.layers.3.self_attn.indexer.wk.weight",
                                          "model.layers.x.self_attn.indexer.wk.weight",
                                          "layers."};
  CHECK(indexer_owners(names, 3) == std::vector<bool>{true, false, true});
}
