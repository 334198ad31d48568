// SPDX-License-Identifier: Apache-2.0
// Decode of every family, fed the rows and caches of a prefill, layer by layer, and token by token
// from nothing; how steps are timed.
#include "core/error.h"
#include "search/decode_time.h"
#include "support/decode_model.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A sequence that selects nothing, and ends of pages.
const std::vector<std::int64_t> kDecoded = {70, 12, 130, 66};

// Every second of the layers that own an indexer.
Pattern half_of(const std::vector<bool>& has_indexer) {
  std::vector<bool> full(has_indexer.size(), false);
  const auto owners = true_positions(has_indexer);
  for (std::size_t i = 0; i < owners.size(); i += 2) full[owners[i]] = true;
  return Pattern::from_full_layers(full);
}

TokenSet ragged_sequences(std::int64_t vocabulary) {
  TokenSet tokens;
  for (const std::int64_t length : {75, 22}) {
    tokens.sequences.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) {
      tokens.sequences.back().push_back(
          static_cast<std::int32_t>((t * t + 31 * t + 7 * length) % vocabulary));
    }
  }
  return tokens;
}

// The mean loss of each sequence, of steps that add a token to every one that is long enough.
std::vector<double> decoded_losses(Session<>& session, const Pattern& pattern,
                                   const TokenSet& tokens) {
  const ModelConfig& c = session.model.config;
  CpuBackend& b = session.backend;
  Decoder decoder(c, b, tokens.longest());
  std::vector<std::int64_t> lengths;
  for (const auto& ids : tokens.sequences) lengths.push_back(static_cast<std::int64_t>(ids.size()));
  const PagedSequences sequences(lengths, 12);
  std::vector<LayerPages> caches;
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    caches.push_back({sequences.poisoned(b, {PageLayout::plain, b.activation(), c.latent_width()}),
                      sequences.poisoned(b, b.index_page_format(c.index_head_dim))});
  }
  std::vector<double> losses(lengths.size(), 0.0);
  for (std::int64_t t = 0; t + 1 < tokens.longest(); ++t) {
    RowLayout rows;
    std::vector<std::int32_t> ids, targets;
    for (const auto& sequence : tokens.sequences) {  // the longest is the first
      if (t + 1 >= static_cast<std::int64_t>(sequence.size())) break;
      rows.append(1, t);
      ids.push_back(sequence[static_cast<std::size_t>(t)]);
      targets.push_back(sequence[static_cast<std::size_t>(t) + 1]);
    }
    const auto put = [&](const std::vector<std::int32_t>& values) {
      return b.upload(std::span<const std::int32_t>(values), rows.total, 1);
    };
    const Tensor hidden = decoder.embed(session.weights.embedding(), put(ids), Memory::state);
    decoder.step(session.weights, pattern, rows, sequences.tables(b).row_range(0, rows.total),
                 caches, hidden);
    const auto now = decoder.loss(session.weights, rows, hidden, put(targets));
    for (std::size_t s = 0; s < now.size(); ++s) {
      losses[s] += now[s] / static_cast<double>(lengths[s] - 1);
    }
  }
  return losses;
}

}  // namespace

TEST_CASE("decode of every token has the loss of a prefill, in every family") {
  for (const std::string& folder : kGoldenModels) {
    INFO(folder);
    Session<> session(golden(folder));
    const Pattern pattern = half_of(session.model.has_indexer);
    const TokenSet tokens = ragged_sequences(session.model.config.vocabulary);
    const auto expected = session.evaluator(tokens).losses(std::span(&pattern, 1)).front();
    const auto actual = decoded_losses(session, pattern, tokens);
    REQUIRE(actual.size() == expected.size());
    for (std::size_t s = 0; s < actual.size(); ++s) {
      CHECK(actual[s] == Approx(expected[s]).epsilon(1e-5));
    }
  }
}

TEST_CASE("layers share caches if those of all do not fit, and a layer that does not is refused") {
  Session<> session(golden("deepseek_v32_tiny"));
  const ModelConfig& c = session.model.config;
  const std::vector<Pattern> patterns = {Pattern::all_full(static_cast<std::size_t>(c.layers)),
                                         half_of(session.model.has_indexer)};
  const DecodeLoad load{100, 3};
  const auto timed = [&](std::int64_t bytes) {
    return time_decode(c, session.weights, session.backend, patterns, load, bytes, 1);
  };
  const DecodeTimes all = timed(std::int64_t{1} << 30);
  CHECK(all.cached_layers == c.layers);
  CHECK(all.index_bytes == 3 * 100 * 32 * 4);
  CHECK(all.latent_bytes == 3 * 16 * 40 * 4);
  REQUIRE(all.patterns.size() == 2);
  for (const DecodeTime& time : all.patterns) {
    CHECK(time.seconds > 0);
    CHECK(time.launched_seconds > 0);
  }
  std::int64_t most = std::int64_t{1} << 30, least = 0;  // the least memory for two layers
  const std::int64_t layer_bytes = 3 * 2 * 64 * (32 + 40) * 4;
  const auto layers_in = [&](std::int64_t bytes) -> std::int64_t {
    try {
      return timed(bytes).cached_layers;
    } catch (const ResourceError&) {
      return 0;
    }
  };
  while (most - least > layer_bytes / 2) {
    const std::int64_t middle = (most + least) / 2;
    (layers_in(middle) >= 2 ? most : least) = middle;
  }
  CHECK(layers_in(most) == 2);
  CHECK(layers_in(most - layer_bytes) == 1);
  CHECK(layers_in(most - 2 * layer_bytes) == 0);
}

TEST_CASE("decode selects and attends as prefill does, in every family") {
  for (const std::string& folder : kGoldenModels) {
    INFO(folder);
    Session<> session(golden(folder));
    DecodedModel<CpuBackend> model(session, kDecoded, {false, 1e-5});
    model.run(session.model.has_indexer);
    CHECK(model.moved() <= 2);
  }
}

TEST_CASE("decode selects and attends as prefill does with FP8 products") {
  for (const char* folder : {"deepseek_v32_fp8_tiny", "glm_moe_dsa_fp8_tiny"}) {
    INFO(folder);
    Session<CpuBackend> session(golden(folder), std::nullopt, Placement::resident, 2,
                                Precision::fp8);
    DecodedModel<CpuBackend> model(session, kDecoded, {false, 1e-5});
    model.run(session.model.has_indexer);
    CHECK(model.moved() <= 2);
  }
}
