// SPDX-License-Identifier: Apache-2.0
// index_topk_freq and index_skip_topk_offset: four rules are in use, and they disagree.
//
//   A  max(l - 1, 0) mod f = 0            the paper's patches; SGLang and xLLM without an offset
//   B  max(l - o + 1, 0) mod f = 0        vLLM, transformers, TensorRT-LLM; SGLang with an offset
//   C  l mod f = 0                        prime-rl, "every f-th layer"
//   D  max(l - o, 0) mod f = 0            ATOM with an offset
#pragma once

#include <cstdint>
#include <string>

namespace indexcache {

enum class FrequencyRule { a, b, c, d };

// F and S of `layers` layers. Requires freq >= 1. An offset below 1 may make layer 0 shared, which
// is what engines then do; A and C have no offset.
std::string frequency_schedule(FrequencyRule rule, std::size_t layers, std::int64_t freq,
                               std::int64_t offset);

}  // namespace indexcache
