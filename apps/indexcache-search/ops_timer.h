// SPDX-License-Identifier: Apache-2.0
// What `bench ops` times operations with: random operands, and a line and a record for each.
#pragma once

#include "backend/backend.h"
#include "io/json.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace indexcache {

class OpsTimer {
 public:
  // Medians of `repeat` runs; lines are printed unless `json`.
  OpsTimer(Backend& backend, int repeat, bool json)
      : backend_(backend), repeat_(repeat), json_(json) {}

  Backend& backend() const { return backend_; }
  int repeat() const { return repeat_; }

  Tensor random(std::int64_t rows, std::int64_t cols, DType dtype);
  Tensor activations(std::int64_t rows, std::int64_t cols);
  // Heads without gaps.
  Heads heads(std::int64_t rows, std::int64_t count, std::int64_t width);
  // A weight as an FP8 checkpoint has it, if the device multiplies those, else in its type.
  Tensor projection(std::int64_t rows, std::int64_t cols);

  double time(const std::function<void()>& body);

  // flop and bytes of one run; either may be 0 where it says nothing.
  void report(const std::string& name, const std::string& shape, double seconds, double flop,
              double bytes, const std::string& unit = "", double unit_value = 0);
  // A product of `rows` rows with a weight, timed and reported; returns TFLOP/s.
  double product(const std::string& name, std::int64_t rows, const Tensor& weight);
  // The same of heads, each with a matrix of its own: out_h = x_h W_h^T.
  void head_product(const std::string& name, std::int64_t rows, std::int64_t heads,
                    const Tensor& weight);

  // What later reports are compared with.
  void set_ceilings(double tflops, double tbs) { tflops_ceiling_ = tflops, tbs_ceiling_ = tbs; }

  Json take() { return std::move(results_); }

 private:
  Backend& backend_;
  int repeat_;
  bool json_;
  std::uint64_t seed_ = 0;
  double tflops_ceiling_ = 0, tbs_ceiling_ = 0;
  Json results_ = Json::array();
};

}  // namespace indexcache
