// SPDX-License-Identifier: Apache-2.0
// Products of a warpgroup whose operands are both in shared memory, rows along k, as wgmma.cuh
// describes them:
//   wgmma_e4m3(d, a, b, add):  d[64, N] (+)= a[64, 32] b[N, 32]^T, d of N / 2 registers
//   wgmma_bf16(d, a, b, add):  d[64, N] (+)= a[64, 16] b[N, 16]^T
// N is part of the instruction, and so is the list of its registers.
#pragma once

#include "kernels/common.cuh"

// clang-format off
#define INDEXCACHE_NAMES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define INDEXCACHE_NAMES_128 INDEXCACHE_NAMES_64 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define INDEXCACHE_NAMES_192 INDEXCACHE_NAMES_128 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define INDEXCACHE_NAMES_256 INDEXCACHE_NAMES_192 \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define INDEXCACHE_EIGHT(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), \
                            "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define INDEXCACHE_QUARTER(i) INDEXCACHE_EIGHT(i), INDEXCACHE_EIGHT(i + 8), \
                              INDEXCACHE_EIGHT(i + 16), INDEXCACHE_EIGHT(i + 24)
#define INDEXCACHE_VALUES_128 INDEXCACHE_QUARTER(0), INDEXCACHE_QUARTER(32)
#define INDEXCACHE_VALUES_192 INDEXCACHE_VALUES_128, INDEXCACHE_QUARTER(64)
#define INDEXCACHE_VALUES_256 INDEXCACHE_VALUES_192, INDEXCACHE_QUARTER(96)

// `a`, `b` and `sum` are the numbers of the operands after the N / 2 registers.
#define INDEXCACHE_WGMMA(function, kind, flags, N, a, b, sum)                                  \
  __device__ inline void function(float (&d)[N / 2], std::uint64_t left, std::uint64_t right,  \
                                  bool add) {                                                  \
    asm volatile("{.reg .pred add; setp.ne.b32 add, %" #sum ", 0; "                            \
                 "wgmma.mma_async.sync.aligned.m64n" #N kind " {" INDEXCACHE_NAMES_##N "}, %"  \
                 #a ", %" #b ", add, 1, 1" flags ";}"                                          \
                 : INDEXCACHE_VALUES_##N                                                       \
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)));                         \
  }

namespace indexcache::kernels {

INDEXCACHE_WGMMA(wgmma_e4m3, "k32.f32.e4m3.e4m3", "", 128, 64, 65, 66)
INDEXCACHE_WGMMA(wgmma_e4m3, "k32.f32.e4m3.e4m3", "", 192, 96, 97, 98)
INDEXCACHE_WGMMA(wgmma_bf16, "k16.f32.bf16.bf16", ", 0, 0", 128, 64, 65, 66)
INDEXCACHE_WGMMA(wgmma_bf16, "k16.f32.bf16.bf16", ", 0, 0", 256, 128, 129, 130)

}  // namespace indexcache::kernels
// clang-format on

#undef INDEXCACHE_WGMMA
#undef INDEXCACHE_VALUES_256
#undef INDEXCACHE_VALUES_192
#undef INDEXCACHE_VALUES_128
#undef INDEXCACHE_QUARTER
#undef INDEXCACHE_EIGHT
#undef INDEXCACHE_NAMES_256
#undef INDEXCACHE_NAMES_192
#undef INDEXCACHE_NAMES_128
#undef INDEXCACHE_NAMES_64
