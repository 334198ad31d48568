// SPDX-License-Identifier: Apache-2.0
#include "model/dequantize.h"

#include "core/error.h"
#include "model/families/families.h"
#include "support/catch.h"
#include "support/files.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr char kOne = 0x38;    // e4m3 1.0
constexpr char kThree = 0x44;  // e4m3 3.0

ModelConfig blocks(std::int64_t rows, std::int64_t cols) {
  ModelConfig config{};
  config.family = &kDeepseekV32;
  config.fp8_block_rows = rows;
  config.fp8_block_cols = cols;
  return config;
}

std::vector<float> read_one(const ModelConfig& config, const std::vector<StoredTensor>& tensors) {
  const TempFolder folder;
  write_safetensors(folder / "model.safetensors", tensors);
  const Checkpoint checkpoint(folder.path());
  check_readable(config, checkpoint, "w");
  return read_floats(config, checkpoint, "w");
}

std::string refusal(const std::vector<StoredTensor>& tensors) {
  try {
    read_one(blocks(2, 2), tensors);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("FP8 blocks are multiplied by their scales, partial edge tiles included") {
  const std::string weights(9, kThree);
  const auto values =
      read_one(blocks(2, 2), {{"w", "F8_E4M3", {3, 3}, weights},
                              {"w_scale_inv", "F32", {2, 2}, bytes_of({1, 10, 100, 1000})}});
  CHECK(values == std::vector<float>{3, 3, 30, 3, 3, 30, 300, 300, 3000});
}

TEST_CASE("scales may be E8M0, per row, or of a block size that divides") {
  const std::string weights(8, kOne);
  const std::string exponents = "\x80\x7e";  // 2 and 1/2
  CHECK(read_one(blocks(128, 128),
                 {{"w", "F8_E4M3", {2, 4}, weights}, {"w_scale_inv", "F8_E8M0", {2}, exponents}}) ==
        std::vector<float>{2, 2, 2, 2, 0.5, 0.5, 0.5, 0.5});
  CHECK(read_one(blocks(128, 128), {{"w", "F8_E4M3", {2, 4}, weights},
                                    {"w_scale_inv", "F32", {1, 2}, bytes_of({3, 5})}}) ==
        std::vector<float>{3, 3, 5, 5, 3, 3, 5, 5});
}

TEST_CASE("BF16 and F16 are exact") {
  CHECK(read_one(blocks(1, 1), {{"w", "BF16", {2}, std::string("\xc0\x3f\x80\xbf", 4)}}) ==
        std::vector<float>{1.5f, -1.0f});
  CHECK(read_one(blocks(1, 1), {{"w", "F16", {1}, std::string("\x00\x3e", 2)}}) ==
        std::vector<float>{1.5f});
}

TEST_CASE("what cannot be dequantized is named") {
  CHECK_THAT(refusal({{"w", "F8_E4M3", {1, 1}, "x"}}), Contains("w_scale_inv is missing"));
  CHECK_THAT(refusal({{"w", "F8_E4M3", {3, 1}, "xxx"},
                      {"w_scale_inv", "F32", {5, 1}, bytes_of({1, 1, 1, 1, 1})}}),
             Contains("does not divide"));
  CHECK_THAT(refusal({{"w", "F8_E4M3", {1, 1}, "x"}, {"w_scale_inv", "I32", {1, 1}, "abcd"}}),
             Contains("scales are I32"));
  CHECK_THAT(refusal({{"w", "I32", {1}, "abcd"}}), Contains("its dtype is I32"));
  CHECK_THAT(refusal({{"w", "F32", {2}, bytes_of({1, NAN})}}),
             Contains("a weight is not finite") && Contains("element 1"));
  CHECK_THAT(
      refusal({{"w", "F8_E4M3", {1, 1}, "\x7f"}, {"w_scale_inv", "F32", {1, 1}, bytes_of({1})}}),
      Contains("not finite"));
}
