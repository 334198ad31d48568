// SPDX-License-Identifier: Apache-2.0
// States of a training on a disk, and what is refused of them.
#include "distill/training_state.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/files.h"
#include "support/refusal.h"

#include <cmath>
#include <cstring>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const Fingerprint kSettings = {{"device", "cpu"}, {"dense rate", "0.001"}};

// Two students of three parameters, in the second of two stages.
TrainingState example_state() {
  StageState over{.step = 4,
                  .training = {{0, {1.5, 2.5}}, {1, {1.25, 2.25}}},
                  .validation = {{0, {1.0, 2.0}}},
                  .best = {1, 2, 3, 4, 5, 6},
                  .best_divergence = {1.0, 2.0},
                  .stale = 1,
                  .over = true};
  StageState begun;
  begun.best = {6, 5, 4, 3, 2, 1};
  begun.best_divergence = {HUGE_VAL, 0.125};
  return {8, 12.5, {over, begun}, {{1, 2, 3, 4, 5, 6}, {0, 0, 0, 1, 1, 1}, {2, 2, 2, 0, 0, 0}}};
}

struct StateFile {
  StateFile() { write_training_state(path, example_state(), kSettings); }

  std::string refusal(const Fingerprint& fingerprint = kSettings, std::size_t students = 2,
                      std::int64_t parameters = 3) const {
    return refusal_of([&] { read_training_state(path, fingerprint, students, parameters); });
  }

  TempFolder folder;
  std::filesystem::path path = folder / "training.safetensors";
};

}  // namespace

TEST_CASE("a state that is written is read") {
  const StateFile file;
  const auto stored = read_training_state(file.path, kSettings, 2, 3);
  REQUIRE(stored);
  const TrainingState expected = example_state();
  CHECK(stored->wave == 8);
  CHECK(stored->seconds == 12.5);
  CHECK(stored->students.parameters == expected.students.parameters);
  CHECK(stored->students.mean == expected.students.mean);
  CHECK(stored->students.variance == expected.students.variance);
  REQUIRE(stored->stages.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    const StageState &a = stored->stages[i], &b = expected.stages[i];
    CHECK((a.step == b.step && a.stale == b.stale && a.over == b.over && a.best == b.best));
    CHECK(a.best_divergence == b.best_divergence);
    CHECK(a.training.size() == b.training.size());
    CHECK(a.validation.size() == b.validation.size());
  }
  CHECK(stored->stages[0].training[1].values == std::vector{1.25, 2.25});
  // The same state has the same bytes.
  const std::string bytes = read_file(file.path);
  write_training_state(file.path, example_state(), kSettings);
  CHECK(read_file(file.path) == bytes);
}

TEST_CASE("no file is no state, and another training's is another error than a damaged one") {
  const StateFile file;
  CHECK_FALSE(read_training_state(file.folder / "none", kSettings, 2, 3));
  CHECK_THROWS_AS(read_training_state(file.path, {{"device", "cpu"}, {"dense rate", "1"}}, 2, 3),
                  ResumeMismatch);
  CHECK_THAT(file.refusal({{"device", "cuda"}, {"dense rate", "1"}}),
             Contains("different settings") && Contains("device was \"cpu\" and is now \"cuda\"") &&
                 Contains("--restart"));
  CHECK_THAT(file.refusal({{"pattern", "FSFS"}}), Contains("pattern was \"\""));
  CHECK_THROWS_AS(read_training_state(file.path, kSettings, 3, 3), InputError);
  CHECK_THAT(file.refusal(kSettings, 2, 4), Contains("another size") && Contains("--restart"));
}

TEST_CASE("a damaged state is refused wherever it is cut") {
  const StateFile file;
  const std::string bytes = read_file(file.path);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{4}, std::size_t{40}, bytes.size() / 2, bytes.size() - 1}) {
    CAPTURE(size);
    write_text(file.path, bytes.substr(0, size));
    CHECK_THROWS_AS(read_training_state(file.path, kSettings, 2, 3), InputError);
    CHECK_THAT(file.refusal(), Contains("training.safetensors"));
  }
  write_safetensors(file.path,
                    std::vector<StoredTensor>{{"parameters", "F32", {6}, std::string(24, 'x')}});
  CHECK_THAT(file.refusal(), Contains("no metadata"));
}

TEST_CASE(
    "a state with any value of its description missing or of another type is refused or read") {
  const StateFile file;
  const std::string bytes = read_file(file.path);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  Json header = parse_json(bytes.substr(8, length), "header");
  const Json state = parse_json(header["__metadata__"]["state"].get<std::string>(), "state");
  int refused = 0;
  for_every_damage(state, 8, [&](const Damage& damage) {
    CAPTURE(damage.name);
    header["__metadata__"]["state"] = damage.document.dump();
    const std::string text = header.dump();
    write_raw_safetensors(file.path, text.size(), text, bytes.substr(8 + length));
    const std::string refusal = file.refusal();
    if (refusal == "accepted") return;
    ++refused;
    CHECK_THAT(refusal, Contains("training") && Contains("--restart"));
  });
  CHECK(refused > 50);
}
