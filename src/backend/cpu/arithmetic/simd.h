// SPDX-License-Identifier: Apache-2.0
// Sixteen floats at a time, by the compiler's vector extension. Unlike in library reductions, the
// order of summation depends only on the length, never on the alignment of the operands.
#pragma once

#include <cstdint>
#include <cstring>

namespace indexcache::cpu {

using Lanes [[gnu::vector_size(64)]] = float;
constexpr std::int64_t kLanes = 16;

inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

inline void store(float* p, Lanes v) {
  std::memcpy(p, &v, sizeof(v));
}

// A pairwise tree.
inline float sum(Lanes v) {
  using Eight [[gnu::vector_size(32)]] = float;
  using Four [[gnu::vector_size(16)]] = float;
  Eight low, high;
  std::memcpy(&low, &v, 32);
  std::memcpy(&high, reinterpret_cast<const char*>(&v) + 32, 32);
  low += high;
  Four a, b;
  std::memcpy(&a, &low, 16);
  std::memcpy(&b, reinterpret_cast<const char*>(&low) + 16, 16);
  a += b;
  return (a[0] + a[2]) + (a[1] + a[3]);
}

inline float dot(const float* x, const float* y, std::int64_t n) {
  Lanes total = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total += load(x + i) * load(y + i);
  float result = sum(total);
  for (; i < n; ++i) result += x[i] * y[i];
  return result;
}

// The largest of n >= 1 values.
inline float max(const float* x, std::int64_t n) {
  float result = x[0];
  std::int64_t i = 0;
  if (n >= kLanes) {
    Lanes best = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Lanes v = load(x + i);
      best = v > best ? v : best;
    }
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      result = best[lane] > result ? best[lane] : result;
    }
  }
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

inline float sum(const float* x, std::int64_t n) {
  Lanes total = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total += load(x + i);
  float result = sum(total);
  for (; i < n; ++i) result += x[i];
  return result;
}

}  // namespace indexcache::cpu
