// SPDX-License-Identifier: Apache-2.0
// Products of a warpgroup with 128 columns, whose operands are both in shared memory, rows along k,
// as wgmma.cuh describes them:
//   wgmma_e4m3(d, a, b, add):  d[64, 128] (+)= a[64, 32] b[128, 32]^T
//   wgmma_bf16(d, a, b, add):  d[64, 128] (+)= a[64, 16] b[128, 16]^T
#pragma once

#include "kernels/common.cuh"

// clang-format off
#define INDEXCACHE_SIXTEEN(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
  "+f"(d[i + 6]), "+f"(d[i + 7]), "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), \
  "+f"(d[i + 11]), "+f"(d[i + 12]), "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])

#define INDEXCACHE_WGMMA(function, kind, flags)                                                    \
  __device__ inline void function(float (&d)[64], std::uint64_t left, std::uint64_t right,         \
                                  bool add) {                                                      \
    asm volatile("{.reg .pred add; setp.ne.b32 add, %66, 0; "                                      \
                 "wgmma.mma_async.sync.aligned.m64n128" kind " {"                                  \
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "          \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "     \
                 "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "     \
                 "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, "     \
                 "%61, %62, %63}, %64, %65, add, 1, 1" flags ";}"                                  \
                 : INDEXCACHE_SIXTEEN(0), INDEXCACHE_SIXTEEN(16), INDEXCACHE_SIXTEEN(32),          \
                   INDEXCACHE_SIXTEEN(48)                                                          \
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)));                             \
  }

namespace indexcache::kernels {

INDEXCACHE_WGMMA(wgmma_e4m3, "k32.f32.e4m3.e4m3", "")
INDEXCACHE_WGMMA(wgmma_bf16, "k16.f32.bf16.bf16", ", 0, 0")

}  // namespace indexcache::kernels
// clang-format on

#undef INDEXCACHE_WGMMA
#undef INDEXCACHE_SIXTEEN
