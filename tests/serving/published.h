// SPDX-License-Identifier: Apache-2.0
// Patterns that were published, with their F layers written out by hand.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache::test {

struct Published {
  std::string name;
  std::string text;
  std::vector<std::size_t> full;
};

// The paper's 30B model at 1/4, GLM-5 at 1/2 (THUDM/IndexCache) and 1/4 (SGLang pull request
// 21925), and the schedule that GLM-5.2 was trained with (frequency 4, offset 3).
inline std::vector<Published> published_patterns() {
  return {{"30B 1/4",
           "FSFSFSSSSFSSSFSSFFSSFSSFSSSSFSSSFSSSSFSSSSSSSSS",
           {0, 2, 4, 9, 13, 16, 17, 20, 23, 28, 32, 37}},
          {"GLM-5 1/2",
           "FFSFSSSFSSFFFSSSFFFSFSSSSSSFFSFFSFFSSFFFFFFSFFFFFSFFSSSSSSFSFFFSFSSSFSFFSFFSSS",
           {0,  1,  3,  7,  10, 11, 12, 16, 17, 18, 20, 27, 28, 30, 31, 33, 34, 37, 38, 39,
            40, 41, 42, 44, 45, 46, 47, 48, 50, 51, 58, 60, 61, 62, 64, 68, 70, 71, 73, 74}},
          {"GLM-5 1/4",
           "FFSFSSSFSSFSFSSSSSSSFSSSSSSFSSSFSFSSSSFFFFFSSSFFSSSFSSSSSSSSFSSSFSSSSSSFSFSSSS",
           {0, 1, 3, 7, 10, 12, 20, 27, 31, 33, 38, 39, 40, 41, 42, 46, 47, 51, 60, 64, 71, 73}},
          {"GLM-5.2",
           "FFFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSS",
           {0, 1, 2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 62, 66, 70, 74}}};
}

}  // namespace indexcache::test
