// SPDX-License-Identifier: Apache-2.0
// Small calibration files for tests of the program.
#pragma once

#include "io/hdf5.h"
#include "io/json.h"
#include "support/files.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache::test {

// The first `length` tokens of some sequences of dsa-mini's calibration set, as JSONL in `folder`.
inline std::filesystem::path short_tokens(const TempFolder& folder, std::int64_t length,
                                          std::int64_t sequences = 2) {
  const IntegerDataset tokens = Hdf5Reader(data("dsa-mini/calibration.h5")).integers("/tokens");
  std::string text;
  for (std::int64_t s = 0; s < sequences; ++s) {
    const auto begin = tokens.values.begin() + s * tokens.shape[1];
    text += Json{{"input_ids", std::vector<std::int64_t>(begin, begin + length)}}.dump() + "\n";
  }
  write_text(folder / "tokens.jsonl", text);
  return folder / "tokens.jsonl";
}

// Sequences of ids below `ids` for the tiny models of tests/golden, as JSONL in `folder`; all of
// them have at least 160 tokens.
inline std::filesystem::path tiny_tokens(const TempFolder& folder, int sequences = 4,
                                         int length = 70, int ids = 319) {
  std::string text;
  for (int s = 0; s < sequences; ++s) {
    Json row = Json::array();
    for (int t = 0; t < length; ++t) row.push_back((t * 37 + s * 11) % ids);
    text += Json{{"input_ids", row}}.dump() + "\n";
  }
  write_text(folder / "tokens.jsonl", text);
  return folder / "tokens.jsonl";
}

}  // namespace indexcache::test
