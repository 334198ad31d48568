// SPDX-License-Identifier: Apache-2.0
// Times of steps of decoding by context, batch and pattern.
#pragma once

#include "backend/backend.h"
#include "model/config.h"
#include "model/weights.h"
#include "profile/profile.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace indexcache {

// What steps are timed with, which must outlive the call.
struct DecodeSubject {
  const ModelConfig& config;
  WeightSource& weights;
  Backend& backend;
  std::int64_t memory_bytes;  // that caches may take
};

// A point per context and batch, both ascending, by time_decode (search/decode_time.h), which says
// what is timed and throws. `done` is called after every point with (points done, all points).
std::vector<ProfilePoint> profile_decode(const DecodeSubject& subject,
                                         std::span<const Pattern> patterns,
                                         std::span<const std::int64_t> contexts,
                                         std::span<const std::int64_t> batches, int repeat,
                                         const std::function<void(std::size_t, std::size_t)>& done);

}  // namespace indexcache
