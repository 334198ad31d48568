// SPDX-License-Identifier: Apache-2.0
// Products of a warpgroup whose operands are both in shared memory, rows along k, as wgmma.cuh
// describes them:
//   wgmma_e4m3(d, a, b, add):  d[64, 128] (+)= a[64, 32] b[128, 32]^T
//   wgmma_bf16(d, a, b, add):  d[64, N] (+)= a[64, 16] b[N, 16]^T,  N = 16, 32, 48, 80 or 128:
//                              twice the length of d
#pragma once

#include "kernels/common.cuh"

// clang-format off
#define INDEXCACHE_EIGHT(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
  "+f"(d[i + 6]), "+f"(d[i + 7])
#define INDEXCACHE_SIXTEEN(i) INDEXCACHE_EIGHT(i), INDEXCACHE_EIGHT(i + 8)

// `left`, `right` and `adds` are the numbers of operands that follow the registers.
#define INDEXCACHE_WGMMA(function, shape, kind, flags, count, registers, left, right, adds, ...)   \
  __device__ inline void function(float (&d)[count], std::uint64_t a, std::uint64_t b, bool add) { \
    asm volatile("{.reg .pred add; setp.ne.b32 add, " adds ", 0; "                                 \
                 "wgmma.mma_async.sync.aligned." shape kind " {" registers "}, " left ", " right   \
                 ", add, 1, 1" flags ";}"                                                          \
                 : __VA_ARGS__                                                                     \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                    \
  }

#define INDEXCACHE_8_NAMES "%0, %1, %2, %3, %4, %5, %6, %7"
#define INDEXCACHE_16_NAMES INDEXCACHE_8_NAMES ", %8, %9, %10, %11, %12, %13, %14, %15"
#define INDEXCACHE_24_NAMES INDEXCACHE_16_NAMES ", %16, %17, %18, %19, %20, %21, %22, %23"
#define INDEXCACHE_40_NAMES INDEXCACHE_24_NAMES \
  ", %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39"
#define INDEXCACHE_64_NAMES INDEXCACHE_40_NAMES \
  ", %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, " \
  "%58, %59, %60, %61, %62, %63"

namespace indexcache::kernels {

#define INDEXCACHE_WGMMA_128(function, kind, flags)                                              \
  INDEXCACHE_WGMMA(function, "m64n128", kind, flags, 64, INDEXCACHE_64_NAMES, "%64", "%65", "%66", \
                   INDEXCACHE_SIXTEEN(0), INDEXCACHE_SIXTEEN(16), INDEXCACHE_SIXTEEN(32),        \
                   INDEXCACHE_SIXTEEN(48))
INDEXCACHE_WGMMA_128(wgmma_e4m3, "k32.f32.e4m3.e4m3", "")
INDEXCACHE_WGMMA_128(wgmma_bf16, "k16.f32.bf16.bf16", ", 0, 0")
INDEXCACHE_WGMMA(wgmma_bf16, "m64n16", "k16.f32.bf16.bf16", ", 0, 0", 8, INDEXCACHE_8_NAMES, "%8",
                 "%9", "%10", INDEXCACHE_EIGHT(0))
INDEXCACHE_WGMMA(wgmma_bf16, "m64n32", "k16.f32.bf16.bf16", ", 0, 0", 16, INDEXCACHE_16_NAMES,
                 "%16", "%17", "%18", INDEXCACHE_SIXTEEN(0))
INDEXCACHE_WGMMA(wgmma_bf16, "m64n48", "k16.f32.bf16.bf16", ", 0, 0", 24, INDEXCACHE_24_NAMES,
                 "%24", "%25", "%26", INDEXCACHE_SIXTEEN(0), INDEXCACHE_EIGHT(16))
INDEXCACHE_WGMMA(wgmma_bf16, "m64n80", "k16.f32.bf16.bf16", ", 0, 0", 40, INDEXCACHE_40_NAMES,
                 "%40", "%41", "%42", INDEXCACHE_SIXTEEN(0), INDEXCACHE_SIXTEEN(16),
                 INDEXCACHE_EIGHT(32))

}  // namespace indexcache::kernels
// clang-format on

#undef INDEXCACHE_WGMMA_128
#undef INDEXCACHE_64_NAMES
#undef INDEXCACHE_40_NAMES
#undef INDEXCACHE_24_NAMES
#undef INDEXCACHE_16_NAMES
#undef INDEXCACHE_8_NAMES
#undef INDEXCACHE_WGMMA
#undef INDEXCACHE_SIXTEEN
#undef INDEXCACHE_EIGHT
