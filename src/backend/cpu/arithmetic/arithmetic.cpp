// SPDX-License-Identifier: Apache-2.0
// The table of one instruction set: the only symbol of this folder that the program sees. CMake
// defines its name, INDEXCACHE_ARITHMETIC.
#include "backend/cpu/arithmetic/arithmetic.h"

namespace indexcache::cpu {
namespace {

// As the x86-64 psABI defines the levels, by the macros that compilers define for features.
constexpr std::string_view level() {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && \
    defined(__AVX512DQ__) && defined(__AVX512VL__)
  return "x86-64-v4";
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__BMI__) && \
    defined(__BMI2__) && defined(__LZCNT__) && defined(__MOVBE__)
  return "x86-64-v3";
#elif defined(__SSE4_2__) && defined(__POPCNT__)
  return "x86-64-v2";
#else
  return "";
#endif
}

}  // namespace

// Data, not a function: looking at it executes nothing that a processor may lack.
extern "C" constinit const Arithmetic INDEXCACHE_ARITHMETIC;
constinit const Arithmetic INDEXCACHE_ARITHMETIC = {.compiled_for = level(),
                                                    .rms_norm = rms_norm,
                                                    .layer_norm = layer_norm,
                                                    .linear = linear,
                                                    .head_linear = head_linear,
                                                    .expand_heads = expand_heads,
                                                    .read_streams = read_streams,
                                                    .write_streams = write_streams,
                                                    .rope = rope,
                                                    .sigmoid_gate = sigmoid_gate,
                                                    .round_index = round_index,
                                                    .index_topk = index_topk,
                                                    .hisa_topk = hisa_topk,
                                                    .common_counts = common_counts,
                                                    .sparse_attention = sparse_attention,
                                                    .window_attention = window_attention,
                                                    .pool_entries = pool_entries,
                                                    .write_pages = write_pages,
                                                    .paged_topk = paged_topk,
                                                    .paged_attention = paged_attention,
                                                    .causal_attention = causal_attention,
                                                    .gated_mlp = gated_mlp,
                                                    .route = route,
                                                    .weigh_experts = weigh_experts,
                                                    .experts = experts,
                                                    .next_token_loss = next_token_loss,
                                                    .compare_next_tokens = compare_next_tokens,
                                                    .overlap_counts = overlap_counts,
                                                    .neighbor_counts = neighbor_counts,
                                                    .mean_attention = mean_attention,
                                                    .distill_indexer = distill_indexer,
                                                    .linear_backward = linear_backward,
                                                    .layer_norm_backward = layer_norm_backward,
                                                    .add = add,
                                                    .squared_norms = squared_norms,
                                                    .adam = adam,
                                                    .make_weight_uploader = make_weight_uploader,
                                                    .select_top_k = select_top_k};

}  // namespace indexcache::cpu
