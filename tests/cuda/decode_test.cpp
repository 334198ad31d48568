// SPDX-License-Identifier: Apache-2.0
// Decode over paged caches on a GPU: pages have the bytes of the CPU's, scores the bits of a
// prefill's, selections are the same, and attention is close to the CPU's; a sequence gets the same
// bits alone and in a batch.
#include "cuda/gpu.h"
#include "kernels/decode_attention.h"
#include "kernels/decode_logits.h"
#include "kernels/indexer_logits.h"
#include "support/decode_model.h"
#include "support/files.h"
#include "support/paged_case.h"

#include <span>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Around pages, tiles and parts; one of them long enough for every kernel of top-k.
const std::vector<std::int64_t> kLengths = {200, 1, 64, 65, 4999, 129, 640};

struct IndexShape {
  std::int64_t heads, width;
};

void check_selection(Precision compute, Precision indexer, const IndexShape& s, std::int64_t k) {
  INFO(name_of(compute) << ", indexer " << name_of(indexer) << ", " << s.heads << " heads of "
                        << s.width << ", k " << k);
  CudaBackend b({compute, indexer});
  const PagedSequences sequences(kLengths, 21);
  const PagedIndexer index(sequences, s.heads, s.width, false);
  const PagedCache cache = index.cache(b, b.index_page_format(s.width));
  const auto sets = index.decoded(b, cache, k);
  CHECK((sets == index.expected(b, k)));
  for (std::int64_t sequence = 0; sequence < sequences.count(); ++sequence) {
    const auto first = static_cast<std::size_t>(sequence * k);
    CHECK(std::ranges::equal(index.decoded(b, cache, k, sequence),
                             std::span(sets).subspan(first, static_cast<std::size_t>(k))));
  }
}

// The words of logits of both kernels, from the same pages; what a row does not have stays poison.
void check_scores(kernels::Type type, int heads) {
  constexpr int kWidth = 128;
  INFO((type == kernels::Type::e4m3 ? "e4m3, " : "bf16, ") << heads << " heads");
  const bool fp8 = type == kernels::Type::e4m3;
  CudaBackend b({Precision::bf16, fp8 ? Precision::fp8 : Precision::bf16});
  const PagedSequences sequences(kLengths, 22);
  const PagedIndexer index(sequences, heads, kWidth, false);
  const PagedCache cache = index.cache(b, b.index_page_format(kWidth));
  const Tensor tables = sequences.tables(b);
  const kernels::Pages pages{
      cache.pages.data<void>(), fp8 ? kernels::PageKind::index_fp8 : kernels::PageKind::rows,
      fp8 ? kWidth : 2 * kWidth, tables.data<std::int32_t>(), tables.stride()};
  // Any finite codes; bf16 is rounded on the way.
  std::vector<std::int32_t> codes(static_cast<std::size_t>(sequences.count() * heads * kWidth / 4));
  std::mt19937 engine(23);
  for (std::int32_t& four : codes) four = static_cast<std::int32_t>(engine() & 0xbfbfbfbfu);
  const Tensor queries =
      fp8 ? b.upload(std::span<const std::int32_t>(codes), sequences.count(), heads * kWidth / 4)
          : b.upload_matrix(index.queries, sequences.count(), std::int64_t{heads} * kWidth);
  const Tensor weights = b.upload(index.weights, sequences.count(), heads);
  const RowLayout rows = sequences.last_rows(), keys = sequences.all_rows();
  cuda::DeviceMemory memory(0, nullptr);
  cuda::LayoutCache layouts(memory, nullptr);
  const cuda::DeviceRows& places = layouts.get(rows, keys);
  const Tensor own = b.allocate(keys.total, kWidth, fp8 ? DType::f8_e4m3 : DType::bf16);
  const Tensor scales = b.allocate(keys.total, 1);
  const std::int64_t stride = (places.most_keys + 7) / 4 * 4;
  const auto poisoned = [&] {
    return b.upload(std::vector<float>(count_of(rows.total, stride), kPoison), rows.total, stride);
  };
  const Tensor prefill = poisoned(), decode = poisoned();
  synchronize();
  INDEXCACHE_CUDA(kernels::gather_pages({.pages = pages,
                                         .sets = nullptr,
                                         .sets_stride = 0,
                                         .places = places.places,
                                         .rows = static_cast<int>(rows.total),
                                         .most_keys = places.most_keys,
                                         .out = own.data<void>(),
                                         .type = type,
                                         .scales = scales.data<float>()},
                                        nullptr));
  INDEXCACHE_CUDA(kernels::indexer_logits_sm90({.queries = queries.data<void>(),
                                                .keys = own.data<void>(),
                                                .type = type,
                                                .head_weights = weights.data<float>(),
                                                .key_scales = fp8 ? scales.data<float>() : nullptr,
                                                .logits = prefill.data<float>(),
                                                .logits_stride = stride,
                                                .segments = places.segments,
                                                .segment_count = places.segment_count,
                                                .most_rows = places.most_rows,
                                                .most_keys = places.most_keys,
                                                .heads = heads,
                                                .width = kWidth},
                                               nullptr));
  INDEXCACHE_CUDA(kernels::decode_logits_sm90({.queries = queries.data<void>(),
                                               .type = type,
                                               .head_weights = weights.data<float>(),
                                               .pages = pages,
                                               .places = places.places,
                                               .logits = decode.data<float>(),
                                               .logits_stride = stride,
                                               .rows = static_cast<int>(rows.total),
                                               .most_keys = places.most_keys,
                                               .heads = heads,
                                               .width = kWidth},
                                              nullptr));
  synchronize();
  const auto words = [&](const Tensor& logits) {
    return b.download_indices(logits.as(rows.total, stride, DType::i32));
  };
  const auto expected = words(prefill), actual = words(decode);
  const auto at = std::ranges::mismatch(actual, expected).in1 - actual.begin();
  INFO("first difference in row " << at / stride << ", key " << at % stride);
  CHECK((actual == expected));
}

struct AttentionShape {
  std::int64_t heads, rank, rope, k;
};

void check_attention(Precision precision, const AttentionShape& s, bool sinks, PageLayout layout) {
  INFO(name_of(precision) << ", heads " << s.heads << ", " << s.rank << " + " << s.rope << ", k "
                          << s.k << (sinks ? ", sinks" : "")
                          << (layout == PageLayout::latent_fp8 ? ", FP8 cache" : ""));
  Gpu gpu(precision);
  CpuBackend cpu;
  const PagedSequences sequences({200, 1, 64, 65, 129, 640}, 24);
  const PagedAttention attention(sequences, s.heads, s.rank, s.rank + s.rope, s.k,
                                 [&](std::vector<float> values) {
                                   return gpu.bf16 ? to_bf16(std::move(values)) : std::move(values);
                                 });
  const auto format = [&](Backend& b) {
    return PageFormat{layout, layout == PageLayout::plain ? b.activation() : DType::f8_e4m3,
                      s.rank + s.rope};
  };
  const PagedCache cache = attention.cache(gpu.backend, format(gpu.backend));
  const PagedCache expected = attention.cache(cpu, format(cpu));
  if (layout == PageLayout::latent_fp8) {
    CHECK((page_words(gpu.backend, cache) == page_words(cpu, expected)));
  }
  const auto actual = attention.decoded(gpu.backend, cache, sinks);
  CHECK_CLOSE(actual, attention.decoded(cpu, expected, sinks), gpu.tolerance(1e-5));
  const auto size = static_cast<std::size_t>(s.heads * s.rank);
  for (std::int64_t sequence = 0; sequence < sequences.count(); ++sequence) {
    const std::span own(actual.data() + static_cast<std::size_t>(sequence) * size, size);
    CHECK(std::ranges::equal(attention.decoded(gpu.backend, cache, sinks, sequence), own));
  }
}

void check_families(Precision compute, Precision indexer, double tolerance) {
  for (const std::string& folder : kGoldenModels) {
    Session<CudaBackend> session(golden(folder), std::nullopt, Placement::resident,
                                 CudaOptions{compute, indexer});
    INFO(folder << " on " << session.backend.name());
    DecodedModel<CudaBackend> model(session, {70, 12, 130, 66}, {true, tolerance});
    model.run(session.model.has_indexer);
  }
}

}  // namespace

TEST_CASE("GPU pages of FP8 index keys have the bytes of the CPU's") {
  CudaBackend gpu({Precision::bf16, Precision::fp8});
  CpuBackend cpu;
  for (const std::int64_t width : {32, 64, 128}) {
    const PagedSequences sequences(kLengths, 25);
    PagedIndexer index(sequences, 1, width, false);
    index.keys = to_bf16(std::move(index.keys));
    const PageFormat format = gpu.index_page_format(width);
    CHECK((page_words(gpu, index.cache(gpu, format)) == page_words(cpu, index.cache(cpu, format))));
  }
}

TEST_CASE("GPU decode selects what prefill selects, to the last bit of scores", "[large]") {
  for (const IndexShape& s :
       {IndexShape{3, 32}, {4, 64}, {8, 32}, {16, 128}, {32, 128}, {64, 128}, {65, 64}}) {
    for (const std::int64_t k : {5, 64, 512}) {
      check_selection(Precision::fp32, Precision::fp32, s, k);
      check_selection(Precision::fp32, Precision::bf16, s, k);
      check_selection(Precision::fp32, Precision::fp8, s, k);
      check_selection(Precision::bf16, Precision::fp32, s, k);
      check_selection(Precision::bf16, Precision::bf16, s, k);
      check_selection(Precision::bf16, Precision::fp8, s, k);
    }
  }
}

TEST_CASE("GPU decode scores pages with the bits of prefill's kernel for Hopper") {
  if (!has_hopper_logits()) return;
  for (const int heads : {16, 32, 64}) {
    check_scores(kernels::Type::bf16, heads);
    check_scores(kernels::Type::e4m3, heads);
  }
}

TEST_CASE("GPU decode attends as the CPU does, and the same alone and in a batch", "[large]") {
  for (const bool sinks : {false, true}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      for (const AttentionShape& s :
           {AttentionShape{6, 36, 4, 5}, {4, 96, 32, 130}, {1, 32, 16, 16}, {17, 192, 64, 70}}) {
        check_attention(precision, s, sinks, PageLayout::plain);
      }
      for (const PageLayout layout : {PageLayout::plain, PageLayout::latent_fp8}) {
        for (const std::int64_t heads : {1, 20, 32, 33, 64, 70, 128}) {
          check_attention(precision, {heads, 512, 64, 200}, sinks, layout);
        }
        for (const std::int64_t k : {1, 31, 32, 33, 64, 127, 128, 129, 512}) {
          check_attention(precision, {20, 512, 64, k}, sinks, layout);
          check_attention(precision, {64, 512, 64, k}, sinks, layout);
        }
      }
    }
  }
}

TEST_CASE("GPU decode of every family selects and attends as its prefill does", "[search]") {
  check_families(Precision::fp32, Precision::fp32, 1e-5);
  check_families(Precision::fp32, Precision::fp8, 1e-5);
  check_families(Precision::bf16, Precision::fp32, 1e-2);
  check_families(Precision::bf16, Precision::bf16, 1e-2);
  check_families(Precision::bf16, Precision::fp8, 1e-2);
}
