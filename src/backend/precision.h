// SPDX-License-Identifier: Apache-2.0
// What a user may ask a device to compute with.
#pragma once

#include <string_view>

namespace indexcache {

// As the precision of a model, fp8 means: matrices that the checkpoint stores in FP8 are multiplied
// as deployed, and everything else is computed as with bf16 (on the CPU as with fp32). Only the
// queries and keys of the indexer may be fp4.
enum class Precision { fp32, bf16, fp8, fp4 };

constexpr std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "fp32";
    case Precision::bf16:
      return "bf16";
    case Precision::fp8:
      return "fp8";
    case Precision::fp4:
      return "fp4";
  }
  return "?";
}

}  // namespace indexcache
