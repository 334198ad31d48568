// SPDX-License-Identifier: Apache-2.0
// HISA on the GPU: its kernels against double precision and plain loops, whole selections against
// the CPU and another program, exactly wherever sums are exact.
#include "backend/row_chunks.h"
#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "kernels/candidate_logits.h"
#include "kernels/indexer_logits.h"
#include "search/reference_case.h"
#include "support/hisa_case.h"

#include <algorithm>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Sequences below, at and beyond the reach of 5 blocks of 16, with ragged ends.
const HisaCase::Queries kRagged = {{30, 90}, {60, 0}, {70, 21}, {200, 140}, {30, 1}, {333, 3}};
constexpr Hisa kFive = {16, 5};

// Pairs of rows and runs of keys in groups, with pairs without keys at the end of each.
std::vector<kernels::CandidatePair> some_pairs(int group, int rows, int block) {
  std::vector<kernels::CandidatePair> pairs;
  for (int g = 0; g < 40; ++g) {
    const int first_key = g * 7;
    for (int i = 0; i < group; ++i) {
      const int keys = i > g % group ? 0 : std::max(block - (g % 3 == 0 ? i : 0), 0);
      pairs.push_back({(g * group + i) % rows, g * block, first_key, keys});
    }
  }
  return pairs;
}

struct Operands {
  Operands(CudaBackend& b, kernels::Type type, std::int64_t rows, std::int64_t key_rows, int heads)
      : q(values(type, rows * heads * 128, 91)),
        k(values(type, key_rows * 128, 92)),
        w(random_floats(count_of(rows, heads), 93)),
        scales(random_floats(static_cast<std::size_t>(key_rows), 94)),
        dq(put(b, type, q, rows, heads * 128)),
        dk(put(b, type, k, key_rows, 128)),
        dw(b.upload(w, rows, heads)),
        ds(b.upload(scales, key_rows, 1)) {}

  // Small integers, which every type represents.
  static std::vector<float> values(kernels::Type, std::int64_t count, std::uint32_t seed) {
    auto all = random_floats(static_cast<std::size_t>(count), seed);
    for (float& value : all) value = std::round(value * 8);
    return all;
  }
  static Tensor put(CudaBackend& b, kernels::Type type, const std::vector<float>& values,
                    std::int64_t rows, std::int64_t cols) {
    if (type != kernels::Type::e4m3) return b.upload_matrix(values, rows, cols);
    std::vector<std::int32_t> packed(values.size() / 4);
    auto* bytes = reinterpret_cast<std::uint8_t*>(packed.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      for (int code = 0; code < 256; ++code) {
        if (e4m3_to_float(static_cast<std::uint8_t>(code)) == values[i]) {
          bytes[i] = static_cast<std::uint8_t>(code);
          break;
        }
      }
    }
    return b.upload(std::span<const std::int32_t>(packed), rows, cols / 4);
  }
  double score(int heads, std::int64_t row, std::int64_t key, bool scaled) const {
    double sum = 0;
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* a = q.data() + (row * heads + h) * 128;
      const double dot = std::inner_product(a, a + 128, k.data() + key * 128, 0.0);
      sum += w[static_cast<std::size_t>(row * heads + h)] * std::max(dot, 0.0);
    }
    return scaled ? sum * scales[static_cast<std::size_t>(key)] : sum;
  }

  std::vector<float> q, k, w, scales;
  Tensor dq, dk, dw, ds;
};

using Launch = cudaError_t (*)(const kernels::CandidateLogitsParams&, cudaStream_t);

void check_candidates(Launch launch, kernels::Type type, int heads, int group, int block) {
  INFO(heads << " heads, blocks of " << block << ", groups of " << group);
  const std::int64_t rows = 37, key_rows = 40 * 7 + block, stride = 40 * block;
  const bool scaled = type == kernels::Type::e4m3;
  CudaBackend b({type == kernels::Type::f32 ? Precision::fp32 : Precision::bf16, Precision::fp32});
  const Operands in(b, type, rows, key_rows, heads);
  const auto pairs = some_pairs(group, static_cast<int>(rows), block);
  std::vector<std::int32_t> words;
  std::vector<float> expected(count_of(rows, stride), 0.0f);
  std::vector<bool> written(expected.size(), false);
  for (const kernels::CandidatePair& pair : pairs) {
    words.insert(words.end(), {pair.row, pair.column, pair.first_key, pair.keys});
    for (int u = 0; u < pair.keys; ++u) {
      const auto at = static_cast<std::size_t>(pair.row * stride + pair.column + u);
      expected[at] = static_cast<float>(in.score(heads, pair.row, pair.first_key + u, scaled));
      written[at] = true;
    }
  }
  const std::vector<std::int32_t> count = {static_cast<std::int32_t>(pairs.size()) / group};
  const Tensor list =
      b.upload(std::span<const std::int32_t>(words), static_cast<std::int64_t>(pairs.size()), 4);
  const Tensor groups = b.upload(std::span<const std::int32_t>(count), 1, 1);
  const Tensor out = b.upload(std::vector<float>(expected.size(), kPoison), rows, stride);
  synchronize();
  INDEXCACHE_CUDA(launch({.queries = in.dq.data<void>(),
                          .keys = in.dk.data<void>(),
                          .type = type,
                          .head_weights = in.dw.data<float>(),
                          .key_scales = scaled ? in.ds.data<float>() : nullptr,
                          .logits = out.data<float>(),
                          .logits_stride = stride,
                          .pairs = list.data<kernels::CandidatePair>(),
                          .groups = groups.data<int>(),
                          .heads = heads,
                          .width = 128},
                         nullptr));
  synchronize();
  auto actual = b.download(out);
  std::size_t written_beyond = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (written[i]) continue;
    written_beyond += std::isnan(actual[i]) ? 0 : 1;
    actual[i] = 0;
  }
  CHECK(written_beyond == 0);
  CHECK_CLOSE(actual, expected, scaled && launch == kernels::candidate_logits_sm90 ? 5e-4 : 2e-6);
}

HisaCase::Sets by_parts(const HisaCase& c, CudaBackend& gpu, const Hisa& hisa) {
  const HisaShape& s = c.shape;
  const Tensor q = gpu.upload_matrix(c.queries, c.rows.total, s.heads * s.width);
  const Tensor w = gpu.upload(c.head_weights, c.rows.total, s.heads);
  const Tensor k = gpu.upload_matrix(c.key_values, c.keys.total, s.width);
  HisaCase::Sets parts;
  for (const RowChunk& chunk : row_chunks(c.rows, 256)) {
    const Tensor out = gpu.allocate(chunk.rows.total, s.k, DType::i32);
    gpu.hisa_topk(chunk.rows, chunk.of(q), chunk.of(w), c.keys, k, hisa, out);
    const auto part = gpu.download_indices(out);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  return parts;
}

double common_share(const HisaCase::Sets& a, const HisaCase::Sets& b, std::int64_t k) {
  std::size_t common = 0;
  const auto width = static_cast<std::size_t>(k);
  for (std::size_t row = 0; row < a.size(); row += width) {
    for (std::size_t i = row; i < row + width; ++i) {
      common += std::binary_search(b.begin() + static_cast<std::ptrdiff_t>(row),
                                   b.begin() + static_cast<std::ptrdiff_t>(row + width), a[i]);
    }
  }
  return static_cast<double>(common) / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("GPU scores of chosen candidates are those of the formula") {
  using kernels::Type;
  for (const Type type : {Type::f32, Type::bf16, Type::e4m3}) {
    for (const int block : {1, 16, 100, 128, 200}) {
      check_candidates(kernels::candidate_logits_general, type, 5, kernels::kGeneralCandidateGroup,
                       block);
    }
  }
  for (const Type type : {Type::bf16, Type::e4m3}) {
    for (const int heads : {16, 32, 64}) {
      if (!kernels::candidate_logits_sm90_applies(type, heads, 128)) continue;
      for (const int block : {1, 16, 64, 100, 128, 200}) {
        check_candidates(kernels::candidate_logits_sm90, type, heads,
                         kernels::candidate_group_sm90(heads), block);
      }
    }
  }
}

TEST_CASE("HISA on the GPU selects what an independent program does") {
  const HisaGolden golden;
  CudaBackend fp32({Precision::fp32, Precision::fp32});
  CHECK(golden.operands().selected(fp32, golden.hisa) == golden.sets);
  // Sums of FP8 have an order, and near ties another outcome.
  CudaBackend fp8({Precision::bf16, Precision::fp8});
  CHECK(common_share(golden.operands().selected(fp8, golden.hisa), golden.fp8_sets,
                     golden.shape.k) > 0.99);
}

TEST_CASE("HISA on the GPU equals the CPU's, in float32 and bf16", "[large]") {
  CpuBackend cpu;
  CudaBackend fp32({Precision::fp32, Precision::fp32});
  CudaBackend bf16({Precision::bf16, Precision::bf16});
  // Means of 16 multiples of 1/8 are exact in bf16.
  for (const HisaShape& shape :
       {HisaShape{3, 32, 20}, {16, 128, 30}, {32, 128, 7}, {64, 128, 24}}) {
    for (const std::int64_t rate : {1, 4}) {
      const HisaCase c(rate == 1 ? kRagged : HisaCase::Queries{{400, 300}, {130, 9}}, shape, 29,
                       rate);
      for (const Hisa& hisa : {kFive, Hisa{8, 9}, Hisa{1, 30}, Hisa{16, 64}}) {
        INFO(shape.heads << " heads, " << indexer_text(hisa) << ", " << rate);
        const auto expected = c.selected(cpu, hisa);
        CHECK(c.selected(fp32, hisa) == expected);
        CHECK(c.selected(bf16, hisa) == expected);
      }
    }
  }
}

TEST_CASE("HISA on the GPU in many chunks of rows, by parts, and again") {
  CpuBackend cpu;
  CudaBackend gpu({Precision::bf16, Precision::bf16});
  const HisaCase c({{60, 2200}, {700, 130}}, {64, 128, 24});
  const auto expected = c.selected(cpu, kFive);
  CHECK(c.selected(gpu, kFive) == expected);
  CHECK(by_parts(c, gpu, kFive) == expected);
}

TEST_CASE("HISA on the GPU with an FP8 indexer: exact within reach, better with more blocks",
          "[large]") {
  CudaBackend gpu({Precision::bf16, Precision::fp8});
  for (const HisaShape& shape : {HisaShape{4, 64, 24}, {32, 128, 24}, {64, 128, 24}}) {
    const HisaCase c({{30, 700}, {500, 77}}, shape);
    const auto exact = c.selected(gpu, std::nullopt);
    double before = 0;
    for (const std::int64_t blocks : {3, 5, 12, 30, 46}) {
      INFO(shape.heads << " heads, " << blocks << " blocks");
      const Hisa hisa{16, blocks};
      const auto sets = c.selected(gpu, hisa);
      CHECK(by_parts(c, gpu, hisa) == sets);
      const double now = common_share(sets, exact, shape.k);
      CHECK(now >= before);
      before = now;
      c.for_rows([&](std::int64_t row, std::int64_t candidates) {
        const auto set = c.set_of(sets, row);
        CHECK(std::ranges::adjacent_find(set, std::greater_equal<>()) == set.end());
        CHECK(set.front() >= 0);
        CHECK(set.back() < candidates);
        if (hisa.takes_all(candidates)) CHECK(std::ranges::equal(set, c.set_of(exact, row)));
      });
    }
    CHECK(before == 1.0);
  }
}

TEST_CASE("HISA on the GPU at the released sizes finds most of what the exact indexer selects",
          "[large]") {
  CudaBackend gpu({Precision::bf16, Precision::fp8});
  const HisaCase c({{9000, 600}, {20000, 300}}, {64, 128, 2048});
  const auto exact = c.selected(gpu, std::nullopt);
  const auto sets = c.selected(gpu, Hisa{});
  CHECK(by_parts(c, gpu, Hisa{}) == sets);
  // Blocks of random keys say little: more than their share of the candidates, less than all.
  const double share = common_share(sets, exact, 2048);
  CHECK(share > 8192.0 / 20000);
  CHECK(share < 1);
}

TEST_CASE("GPU common members of sets equal the CPU's") {
  CpuBackend cpu;
  CudaBackend gpu;
  const HisaCase c(kRagged, {3, 32, 20});
  const auto a = c.selected(cpu, std::nullopt), b = c.selected(cpu, kFive);
  const auto counts = [&](Backend& backend) {
    return backend.common_counts(
        backend.upload(std::span<const std::int32_t>(a), c.rows.total, 20),
        backend.upload(std::span<const std::int32_t>(b), c.rows.total, 20));
  };
  CHECK(counts(gpu) == counts(cpu));
}

TEST_CASE("GPU losses under HISA have the same bits in a batch, in waves, and by themselves",
          "[cublas]") {
  const TokenSet tokens = uneven_sequences(700);
  const std::vector<Pattern> patterns = {Pattern::all_full(16), Pattern::parse("FSSSFSSSFSSSFSSS")};
  for (const Precision indexer : {Precision::fp32, Precision::bf16, Precision::fp8}) {
    INFO(name_of(indexer));
    const Precision compute = indexer == Precision::fp32 ? Precision::fp32 : Precision::bf16;
    Session<CudaBackend> session(data("dsa-mini"), std::nullopt, Placement::resident,
                                 CudaOptions{compute, indexer});
    const auto exact = session.evaluator(tokens).losses(patterns);
    session.model.config.indexer = Hisa{9, 16};
    SweepEvaluator evaluator = session.evaluator(tokens);
    const auto batch = evaluator.losses(patterns);
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      CHECK(evaluator.losses(std::span(&patterns[p], 1)).front() == batch[p]);
      CHECK(batch[p][0] != exact[p][0]);
    }
    CHECK(session.evaluator(tokens, {.memory_bytes = 1}).losses(patterns) == batch);
    session.model.config.indexer = Hisa{9, 100};
    CHECK(session.evaluator(tokens).losses(patterns) == exact);
  }
}
