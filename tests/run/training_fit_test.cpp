// SPDX-License-Identifier: Apache-2.0
// How trainings are cut to fit devices, and that the cut which decides bits does not depend on how
// many there are.
#include "run/training_fit.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"
#include "support/files.h"

#include <algorithm>

using namespace indexcache;
using namespace indexcache::test;

namespace {

class PretendGpu : public CpuBackend {
  bool is_gpu() const override { return true; }
};

// All segments of dsa-mini, whose students take more than anything else.
struct FitPlace {
  FitPlace() {
    const std::vector<std::vector<std::int32_t>> sequences(16, std::vector<std::int32_t>(512));
    subject.training.sequences = sequences;
    subject.validation.sequences = {sequences.front()};
  }

  TrainingSizes sizes(std::int64_t room, bool sparse = false) const {
    return {config, gpu, subject, sparse, room};
  }
  // The least room in which so many devices can train, to 4 KiB.
  std::int64_t least_room(std::size_t devices, std::int64_t wave) const {
    std::int64_t low = 0, high = std::int64_t{1} << 40;
    while (high - low > 4096) {
      const std::int64_t middle = (low + high) / 2;
      const TrainingSizes some = sizes(middle);
      (some.has_room(some.fit_wave(wave, devices)) ? high : low) = middle;
    }
    return high;
  }

  const ModelConfig config = read_config(data("dsa-mini"));
  const PretendGpu gpu;
  DistillSubject subject{.pattern = Pattern::all_full(16),
                         .students = all_students(std::vector<bool>(16, true)),
                         .training = {},
                         .validation = {},
                         .judge = {}};
};

}  // namespace

TEST_CASE("a training takes as many sequences at once on any number of devices that can hold it") {
  const FitPlace place;
  for (const std::size_t fewest : {1, 2, 4}) {
    for (const std::int64_t wave : {1, 2, 8}) {
      const std::int64_t room = place.least_room(fewest, wave);
      const std::int64_t fitting = place.sizes(room).fit(8, fewest).wave;
      INFO(fewest << " devices can take " << wave);
      if (fewest == 1) CHECK(fitting == wave);
      for (std::size_t devices = fewest; devices <= 16; ++devices) {
        const TrainingSizes sizes = place.sizes(room);
        const TrainingFit fit = sizes.fit(8, devices);
        INFO(devices << " devices");
        CHECK(fit.parts.size() == devices);
        CHECK(fit.wave == fitting);
        CHECK(sizes.has_room(fit));
      }
    }
  }
}

TEST_CASE("students that one device cannot hold fit several") {
  const FitPlace place;
  const std::int64_t one = place.least_room(1, 1), four = place.least_room(4, 1);
  CHECK(four < one / 2);
  const TrainingSizes sizes = place.sizes(four);
  CHECK_FALSE(sizes.has_room(sizes.fit(8, 1)));
  CHECK(sizes.has_room(sizes.fit(8, 4)));
  // A training that began with more sequences at once cannot continue here.
  CHECK_FALSE(sizes.has_room(sizes.fit_wave(64, 4)));
}

TEST_CASE("in the sparse stage every device holds the weights of all students") {
  const FitPlace place;
  const std::int64_t room = std::int64_t{1} << 40;
  const auto bytes = [&](bool sparse, std::size_t devices) {
    return place.sizes(room, sparse).fit_wave(1, devices).bytes;
  };
  const auto others = [&](std::size_t devices) {
    return bytes(true, devices) - bytes(false, devices);
  };
  // Index sets are kept as well, of fewer layers on each device.
  const std::int64_t weights = 4 * indexer_parameters(place.config);
  CHECK(others(1) < others(4));
  CHECK(others(4) > weights * 80);
}
