// SPDX-License-Identifier: Apache-2.0
#include "profile/device_prefill.h"

#include <algorithm>
#include <random>

namespace indexcache {

TokenSet DevicePrefill::random_tokens(std::int64_t context) const {
  std::mt19937_64 engine(7);
  const auto vocabulary = static_cast<std::uint64_t>(config_.vocabulary);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(context));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(engine() % vocabulary);
  return {"random tokens", {std::move(ids)}};
}

bool DevicePrefill::fits(std::int64_t context) const {
  const TokenSet tokens = random_tokens(context);
  return !memory_.enforce || SweepPlanner(config_, backend_, tokens, memory_).plan(1).fits;
}

void DevicePrefill::begin(std::int64_t context) {
  evaluator_.reset();
  tokens_ = random_tokens(context);
  evaluator_.emplace(config_, weights_, backend_, tokens_, memory_);
}

void DevicePrefill::warm_up(const Pattern& pattern) {
  evaluator_->losses_of(pattern);
}

double DevicePrefill::time(const Pattern& pattern) {
  return backend_.measure([&] { evaluator_->prefill(pattern); });
}

ComponentProfile DevicePrefill::time_components(const Pattern& pattern) {
  backend_.start_profile();
  evaluator_->prefill(pattern);
  return backend_.take_profile();
}

// Of some rows of one layer, as the sets of a whole pass may not fit twice.
double DevicePrefill::time_set_copy() {
  constexpr std::int64_t kMostRows = 8192;
  const std::int64_t selecting = tokens_.longest() - config_.first_selecting_position();
  if (selecting <= 0) return 0;
  RowLayout rows;
  rows.append(std::min(selecting, kMostRows), 0);
  const Tensor sets = backend_.allocate(rows.total, config_.index_topk, DType::i32);
  const Tensor copy = backend_.allocate(rows.total, config_.index_topk, DType::i32);
  backend_.fill_zero(sets);
  const auto body = [&] { backend_.copy_rows(rows, sets, rows, copy); };
  backend_.measure(body);
  return backend_.measure(body) *
         static_cast<double>(selecting * static_cast<std::int64_t>(config_.letters())) /
         static_cast<double>(rows.total);
}

}  // namespace indexcache
