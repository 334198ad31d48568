// SPDX-License-Identifier: Apache-2.0
// What must hold for every family, in a loop over all of them and one that only exists here.
#include "model/families/families.h"

#include "core/error.h"
#include "model/sizes.h"
#include "model/synthetic_weights.h"
#include "model/tensor_registry.h"
#include "search/sample_family.h"
#include "support/catch.h"
#include "support/session.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A row for each family, with a checkpoint.
struct AllFamilies {
  struct Case {
    const Family* family;
    std::filesystem::path folder;
  };

  AddedFamily added{kSample};
  SampleCheckpoint sample;
  std::vector<Case> cases = {{&kDeepseekV32, golden("deepseek_v32_tiny")},
                             {&kDeepseekV32, golden("deepseek_v32_fp8_tiny")},
                             {&kGlmMoeDsa, golden("glm_moe_dsa_tiny")},
                             {&kGlmMoeDsa, golden("glm_moe_dsa_shared_tiny")},
                             {&kAxk2, golden("axk2_tiny")},
                             {&kHyV4, golden("hy_v4_tiny")},
                             {&kDeepseekV4, golden("deepseek_v4_tiny")},
                             {&kDeepseekV4, golden("deepseek_v4_r128_tiny")},
                             {&kDeepseekV4, golden("deepseek_v4_fp_tiny")},
                             {&kSample, sample.path()}};

  template <typename Check>
  void check_each(const Check& check) const {
    for (const Case& of : cases) {
      INFO(of.family->title << ", " << of.folder);
      check(of.family, of.folder);
    }
  }
};

TokenSet two_sequences(std::int64_t vocabulary) {
  TokenSet tokens;
  for (int s = 0; s < 2; ++s) {
    std::vector<std::int32_t> ids;
    for (int t = 0; t < 70 - 9 * s; ++t)
      ids.push_back((t * t + 31 * t + 7 * s) % static_cast<int>(vocabulary));
    tokens.sequences.push_back(ids);
  }
  return tokens;
}

std::vector<Pattern> two_patterns(const Pattern& baseline) {
  std::vector<std::size_t> full = baseline.full_layers();
  std::vector<bool> fewer(baseline.layers(), false);
  for (std::size_t i = 0; i < full.size(); i += 2) fewer[full[i]] = true;
  return {baseline, Pattern::from_full_layers(fewer)};
}

std::vector<std::int64_t> extents(const Tensor& tensor) {
  return {tensor.rows(), tensor.cols()};
}

// Rows and columns of every weight of a layer.
std::vector<std::vector<std::int64_t>> shapes_of(const LayerWeights& w) {
  std::vector<std::vector<std::int64_t>> shapes;
  for (const Tensor* tensor :
       {&w.attention_input.norm, &w.mlp_input.norm, &w.q_a, &w.q_a_norm, &w.q_b, &w.kv_a,
        &w.kv_a_norm, &w.k_absorb, &w.v_absorb, &w.sinks, &w.output_gate, &w.o_groups, &w.o}) {
    shapes.push_back(extents(*tensor));
  }
  for (const InputWeights* input : {&w.attention_input, &w.mlp_input}) {
    if (input->gate) {
      shapes.insert(shapes.end(), {extents(input->gate->down), extents(input->gate->up)});
    }
    if (!input->streams) continue;
    const StreamWeights& streams = *input->streams;
    shapes.insert(shapes.end(),
                  {extents(streams.mixer), extents(streams.base), extents(streams.scale)});
  }
  for (const auto& entries :
       {w.entries, w.indexer ? w.indexer->entries : std::optional<EntryWeights>()}) {
    if (!entries) continue;
    shapes.insert(shapes.end(),
                  {extents(entries->projections), extents(entries->bias), extents(entries->norm)});
  }
  if (w.mlp) shapes.insert(shapes.end(), {extents(w.mlp->gate_up), extents(w.mlp->down)});
  if (w.moe) {
    shapes.insert(shapes.end(), {extents(w.moe->gate), extents(w.moe->correction_bias),
                                 extents(w.moe->hash_table)});
    for (const Tensor& tensor : w.moe->experts.gate_up) shapes.push_back(extents(tensor));
    for (const Tensor& tensor : w.moe->experts.down) shapes.push_back(extents(tensor));
  }
  return shapes;
}

}  // namespace

TEST_CASE("every family is listed in its loop of tests") {
  const AllFamilies all;
  for (const Family* family : families()) {
    INFO(family->title);
    CHECK(std::ranges::count(all.cases, family, &AllFamilies::Case::family) > 0);
  }
}

TEST_CASE("the table of every family is what its checkpoints store") {
  AllFamilies().check_each([](const Family* family, const std::filesystem::path& folder) {
    const Model model = open_model(folder);
    CHECK(model.config.family == family);
    CHECK(model.unread_tensors.empty());
    CHECK(model.warnings().empty());
    std::int64_t parameters = parameters_of(family->outer_weights(model.config));
    for (std::int64_t layer = 0; layer < model.config.layers; ++layer) {
      const WeightTable table = family->layer_weights(model.config, layer);
      const bool owner = model.config.is_marked(model.has_indexer, layer);
      parameters += parameters_of(owner ? table : trunk_rows(table));
    }
    CHECK(parameter_count(model.config, model.checkpoint, model.has_indexer) == parameters);

    const TempFolder alone;
    std::filesystem::copy(folder / "config.json", alone / "config.json");
    const Model expected = expect_model(alone.path());
    CHECK(expected.has_indexer == model.has_indexer);
    std::size_t found = 0;
    for (const std::string& name : expected.checkpoint.names()) {
      if (name.ends_with("_scale_inv") || name.ends_with(".scale"))
        continue;  // of what the test data stores in FP8
      INFO(name);
      REQUIRE(model.checkpoint.contains(name));
      CHECK(model.checkpoint.tensor(name).shape == expected.checkpoint.tensor(name).shape);
      ++found;
    }
    CHECK(found > 20);
  });
}

TEST_CASE("synthetic weights of every family have the shapes of its checkpoints") {
  AllFamilies().check_each([](const Family*, const std::filesystem::path& folder) {
    Session<> session(folder);
    SyntheticWeights synthetic(session.model.config, session.backend, false);
    for (std::int64_t layer = 0; layer < session.model.config.layers; ++layer) {
      CHECK(shapes_of(synthetic.layer(layer)) == shapes_of(session.weights.layer(layer)));
    }
    CHECK(extents(synthetic.lm_head()) == extents(session.weights.lm_head()));
  });
}

TEST_CASE("batches and moving weights do not change a bit, in every family") {
  AllFamilies().check_each([](const Family*, const std::filesystem::path& folder) {
    Session<> session(folder);
    const TokenSet tokens = two_sequences(session.model.config.vocabulary);
    const std::vector<Pattern> patterns = two_patterns(session.model.baseline());
    SweepEvaluator evaluator = session.evaluator(tokens);
    const auto losses = evaluator.losses(patterns);
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == losses[p]);
    }
    for (const Placement placement : {Placement::stream, Placement::disk}) {
      Session<> moving(folder, std::nullopt, placement);
      CHECK(moving.evaluator(tokens).losses(patterns) == losses);
    }
  });
}

TEST_CASE("what a sweep holds stays within its plan, in every family") {
  AllFamilies().check_each([](const Family*, const std::filesystem::path& folder) {
    for (const bool small : {false, true}) {
      Session<> session(folder, std::nullopt, Placement::stream, 1);
      const TokenSet tokens = two_sequences(session.model.config.vocabulary);
      const std::vector<Pattern> patterns = two_patterns(session.model.baseline());
      SweepEvaluator evaluator =
          small ? session.evaluator(tokens, {.memory_bytes = 1}) : session.evaluator(tokens);
      evaluator.losses(patterns);
      const SweepPlan plan = evaluator.planner().plan(patterns.size());
      const std::int64_t planned = plan.total() + session.weights.bytes();
      const MemoryUse use = session.backend.memory_use();
      INFO("planned " << planned << ", held " << use.peak_total << ", small " << small);
      CHECK(use.peak_total <= planned);
      for (const Memory kind : {Memory::state, Memory::index_sets, Memory::keys}) {
        const auto k = static_cast<std::size_t>(kind);
        INFO(kMemoryNames[k]);
        CHECK(use.peak[k] <= plan.bytes[k]);
      }
    }
  });
}

TEST_CASE("dense attention is that of a model that selects everything, in every family") {
  AllFamilies().check_each([](const Family*, const std::filesystem::path& folder) {
    Session<> session(folder);
    const TokenSet tokens = two_sequences(session.model.config.vocabulary);
    const Pattern baseline = session.model.baseline();
    const SequenceLosses sparse = session.evaluator(tokens).losses_of(baseline);
    if (session.model.config.compressed) return;  // refused by name
    session.model.config.dense = true;
    const SequenceLosses dense = session.evaluator(tokens).losses_of(baseline);
    CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses_of(baseline) == dense);
    session.model.config.dense = false;
    session.model.config.index_topk = tokens.longest();
    const SequenceLosses all = session.evaluator(tokens).losses_of(baseline);
    CHECK(dense != sparse);
    for (std::size_t s = 0; s < all.size(); ++s) CHECK(dense[s] == Approx(all[s]).epsilon(1e-6));
  });
}

TEST_CASE("an added family differs from its relative by its constant only") {
  const AllFamilies all;
  const TokenSet tokens = two_sequences(320);
  const auto losses_of = [&](const std::filesystem::path& folder, std::optional<float> eps) {
    Session<> session(folder);
    if (eps) session.model.config.index_norm_eps = *eps;
    return session.evaluator(tokens).losses(two_patterns(session.model.baseline()));
  };
  const auto relative = golden("deepseek_v32_tiny");
  CHECK(losses_of(all.sample.path(), {}) == losses_of(relative, kSampleNormEps));
  CHECK(losses_of(all.sample.path(), 1e-6f) == losses_of(relative, {}));
  CHECK(losses_of(all.sample.path(), {}) != losses_of(relative, {}));
}

TEST_CASE("operations follow from the table as they did from formulas") {
  const ModelConfig c = read_config(golden("deepseek_v32_tiny"));
  const auto d = [](std::int64_t value) { return static_cast<double>(value); };
  const double attention =
      d(c.hidden * (c.q_lora_rank + c.latent_width())) +
      d(c.heads * (c.q_lora_rank * c.qk_head_dim() + c.qk_nope_head_dim * c.kv_lora_rank +
                   c.kv_lora_rank * c.v_head_dim + c.v_head_dim * c.hidden));
  CHECK(trunk_row_operations(c, 0) == 2 * (attention + d(3 * c.hidden * c.intermediate)));
  CHECK(trunk_row_operations(c, 5) ==
        2 * (attention +
             d(c.routed_experts * c.hidden +
               3 * c.hidden * c.moe_intermediate * (c.router.experts_used + c.shared_experts))));
  CHECK(indexer_row_operations(c, 0) == 2 * d(c.q_lora_rank * c.index_heads * c.index_head_dim +
                                              c.hidden * (c.index_head_dim + c.index_heads)));
}

TEST_CASE("a model of an unknown family is described by what its folder shows") {
  const SampleCheckpoint sample;  // nobody has added the family
  const auto refusal = [&] {
    try {
      open_model(sample.path());
      return std::string("accepted");
    } catch (const InputError& error) {
      return error.describe();
    }
  };
  CHECK_THAT(refusal(), Contains("SampleForCausalLM is not supported") &&
                            Contains("model_type is sample_dsa") && Contains("index_topk 16") &&
                            Contains("docs/models.md"));
  sample.change_tensors([](auto& tensors) {
    for (StoredTensor& tensor : tensors) {
      const std::size_t at = tensor.name.find(".selector.");
      if (at != tensor.name.npos) tensor.name.replace(at, 10, ".indexer.");
    }
  });
  CHECK_THAT(refusal(), Contains("decoder.blocks.0.mla.indexer.{k_norm.bias, k_norm.weight, "
                                 "weights_proj.weight, wk.weight, wq_b.weight}") &&
                            Contains("has the tensors of DeepSeek-V3.2"));
}
