// SPDX-License-Identifier: Apache-2.0
// Gradients and steps of Adam against those of PyTorch (tests/golden/make_distillation.py).
#include "io/files.h"
#include "io/json.h"
#include "support/compare.h"
#include "support/distill_bench.h"

#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The largest error of sampled elements and of the norm, as a share of the largest element or of
// the norm.
double gradient_error(const std::vector<float>& gradient, const Json& expected,
                      std::size_t stride) {
  double largest = 0, squares = 0;
  for (const float value : gradient) {
    largest = std::max(largest, std::abs(double{value}));
    squares += double{value} * double{value};
  }
  const double reference = expected["largest"].get<double>(), norm = expected["norm"].get<double>();
  double error = std::max(std::abs(largest - reference) / reference,
                          std::abs(std::sqrt(squares) - norm) / norm);
  std::size_t at = 0;
  for (const Json& sample : expected["samples"]) {
    error = std::max(
        error, std::abs(double{gradient[at % gradient.size()]} - sample.get<double>()) / reference);
    at += stride;
  }
  return error;
}

void check_case(const std::string& name) {
  CAPTURE(name);
  const std::filesystem::path file = golden(name) / "golden_distillation.json";
  const Json reference = parse_json(read_file(file), file.string());
  const Pattern pattern = Pattern::parse(reference["pattern"].get<std::string>());
  const auto sequences = golden_ids(name);
  const auto longest = static_cast<std::int64_t>(sequences[0].size());
  const auto queries = static_cast<float>(sequences.size() * sequences[0].size());
  for (const char* stage : {"dense", "sparse"}) {
    CAPTURE(stage);
    DistillBench bench(golden(name), students_of(pattern), longest, 1e-6, 2);
    const Features features =
        bench.features(sequences, stage == std::string("sparse") ? &pattern : nullptr);
    const auto ranges = position_ranges(longest, bench.config().index_topk, 24);
    const std::vector<double> sums = bench.distiller.add_gradients(features, ranges, 1 / queries);
    REQUIRE(reference[stage].size() == sums.size());
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const Json& expected = reference[stage][i];
      const Student student = bench.students.students()[i];
      CAPTURE(student.layer, student.end);
      CHECK(expected["layer"] == student.layer);
      CHECK(expected["end"] == student.end);
      const double divergence = expected["divergence"].get<double>();
      CHECK(std::abs(sums[i] - divergence) < 1e-5 * divergence);
      const IndexerParts gradients = bench.gradients(i);
      for (std::size_t part = 0; part < kIndexerParts.size(); ++part) {
        CAPTURE(kIndexerParts[part]);
        CHECK(gradient_error(gradients[part], expected["gradients"][kIndexerParts[part]],
                             reference["stride"].get<std::size_t>()) < 1e-5);
      }
    }
  }
}

}  // namespace

TEST_CASE("gradients of indexers with half-split rotation are those of PyTorch in float64") {
  check_case("deepseek_v32_tiny");
}

TEST_CASE("gradients of indexers with interleaved rotation are those of PyTorch in float64") {
  check_case("glm_moe_dsa_tiny");
}

TEST_CASE("steps from equal gradients are those of torch.optim.Adam") {
  const Json reference = parse_json(read_file(golden("adam.json")), "adam.json");
  CpuBackend backend(1);
  const auto start = reference["start"].get<std::vector<float>>();
  const auto columns = static_cast<std::int64_t>(start.size());
  const Tensor parameters = backend.upload(start, 1, columns);
  const Tensor mean = backend.allocate(1, columns), variance = backend.allocate(1, columns);
  backend.fill_zero(mean);
  backend.fill_zero(variance);
  std::int64_t step = 0;
  for (const Json& gradients : reference["gradients"]) {
    ++step;
    backend.adam({.rate = reference["rate"].get<float>(),
                  .beta1 = 0.9f,
                  .beta2 = 0.95f,
                  .epsilon = 1e-8f,
                  .step = step,
                  .scales = {1.0f}},
                 backend.upload(gradients.get<std::vector<float>>(), 1, columns), mean, variance,
                 parameters);
    const auto after = backend.download(parameters);
    const auto& expected = reference["after"][static_cast<std::size_t>(step - 1)];
    for (std::size_t i = 0; i < after.size(); ++i) {
      CAPTURE(step, i);
      CHECK(std::abs(double{after[i]} - expected[i].get<double>()) < 1e-6);
    }
  }
}
