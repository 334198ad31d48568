// SPDX-License-Identifier: Apache-2.0
// Where the time of a model goes on a device, with every indexer and under patterns: what
// profile.json holds (docs/profile.md).
#pragma once

#include "core/pattern.h"
#include "profile/traffic.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

inline constexpr const char* kProfileSchema = "indexcache-profile/1";

// How much stamps may change the time of a pass before `profile` warns.
inline constexpr double kStampsTolerance = 0.1;

struct TimedPart {
  std::string name;  // of a component (backend/device.h), or whatever else a writer measured
  double seconds;

  bool operator==(const TimedPart&) const = default;
};

// A pass under one pattern.
struct PatternTime {
  double seconds;  // the median of several passes
  // Of one pass whose operations were timed one by one, without what the stamps added.
  std::vector<TimedPart> parts;
  double stamped_seconds = 0;  // of that pass, with it; 0 where it is not known any more

  double parts_seconds() const;
  double seconds_of(std::string_view part) const;  // 0 if there is no such part
  // Part of the pass, in [0, 1], that indexers take: their projections, logits, top-k and keys.
  double indexer_share() const;

  bool operator==(const PatternTime&) const = default;
};

// Passes of the same size: prefills of sequences of `context` tokens, or steps of a decoder that
// adds a token to each of `batch` sequences of that length.
struct ProfilePoint {
  std::int64_t context;
  std::int64_t batch = 1;
  // Seconds of a copy of the index sets of all layers. Attention reads them while it computes, so
  // this is no part of a pass, and more than what reading them takes.
  std::optional<double> set_copy_seconds = std::nullopt;
  std::vector<PatternTime> times;  // [patterns of the profile], the first with every indexer

  double speed_up(std::size_t pattern) const {
    return times.front().seconds / times[pattern].seconds;
  }
  // Amdahl's limit: the speed-up without a single indexer. No pattern reaches it, because the first
  // layer needs one.
  double limit() const { return 1 / (1 - times.front().indexer_share()); }

  bool operator==(const ProfilePoint&) const = default;
};

struct ProfiledPattern {
  std::string name;  // as it was asked for
  Pattern pattern;

  bool operator==(const ProfiledPattern&) const = default;
};

struct ProfiledModel {
  std::string name;
  std::int64_t index_topk = 0;
  std::int64_t index_heads = 0;
  std::int64_t index_head_dim = 0;
  std::string indexer;        // "exact", or HISA's sizes
  std::string config_sha256;  // empty for random weights

  bool operator==(const ProfiledModel&) const = default;
};

struct Profile {
  std::filesystem::path file;  // that it was read from; empty if it has just been measured
  std::string tool_version;
  std::string created_at;  // ISO 8601 UTC
  ProfiledModel model;
  std::string device;
  bool gpu = false;
  int repeat = 1;
  std::vector<ProfiledPattern> patterns;  // the first is that with every indexer
  std::vector<ProfilePoint> prefill;      // by rising context
  std::vector<ProfilePoint> decode;       // by rising context and batch
  std::optional<Traffic> traffic;         // of the same patterns
  std::vector<std::string> warnings;

  // The prefill of exactly so many tokens, and the place of a pattern; null and nullopt if that was
  // not measured.
  const ProfilePoint* prefill_at(std::int64_t context) const;
  std::optional<std::size_t> place_of(const Pattern& pattern) const;

  bool operator==(const Profile&) const = default;
};

}  // namespace indexcache
