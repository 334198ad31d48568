// SPDX-License-Identifier: Apache-2.0
#include "core/layer_numbers.h"

#include "support/catch.h"

using namespace indexcache;

TEST_CASE("letters of a pattern are layers, all of them or some") {
  const LayerNumbers all;
  CHECK(all.are_all());
  CHECK(all.of(5) == 5);
  CHECK(all.model_layers(6) == 6);
  CHECK(all.letter_of(3) == 3);
  CHECK(all.letters_from({2, 4}) == std::vector<std::size_t>{2, 4});

  const LayerNumbers some({2, 4, 6, 8}, 9);
  CHECK_FALSE(some.are_all());
  CHECK(some.of(3) == 8);
  CHECK(some.of(std::vector<std::size_t>{0, 2}) == std::vector<std::size_t>{2, 6});
  CHECK(some.model_layers(4) == 9);
  CHECK(some.letter_of(6) == 2);
  CHECK_FALSE(some.letter_of(5));
  CHECK_FALSE(some.letter_of(9));
  // The first letter at or after each; two layers may have the same, and the last one none.
  CHECK(some.letters_from({3, 4, 7, 0}) == std::vector<std::size_t>{0, 1, 3});
  CHECK(some.letters_from({8, 9}) == std::vector<std::size_t>{3});
}
