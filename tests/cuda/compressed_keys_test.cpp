// SPDX-License-Identifier: Apache-2.0
// Keys that represent several positions: every operation that reads candidates, against the CPU
// backend.
#include "support/compressed_keys.h"

#include "cuda/gpu.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Shape = CompressedKeys::Shape;

void check_attention(Precision precision, std::int64_t rate, const Shape& s) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", k " << s.k << ", "
                          << rate << " positions per key");
  Gpu gpu(precision);
  CpuBackend cpu;
  const CompressedKeys c(queries_that_see(s.k, rate), rate, s);
  const auto actual = c.attended(gpu.backend);
  CHECK_CLOSE(actual, c.attended(cpu), gpu.tolerance(1e-5));
  CHECK(c.attended(gpu.backend) == actual);
}

void check_training(Precision precision, std::int64_t rate, const Shape& s) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", k " << s.k << ", "
                          << rate << " positions per key");
  Gpu gpu(precision);
  CpuBackend cpu;
  const CompressedKeys c(s.k > 0 ? queries_that_see(s.k, rate) : queries_from_the_beginning(rate),
                         rate, s);
  CHECK_CLOSE(c.averaged(gpu.backend), c.averaged(cpu), gpu.bf16 ? 3e-5 : 1e-5);
  const bool tensor_cores = gpu.bf16 && s.k == 0 && s.width % 16 == 0 && s.width <= 128;
  const double products = tensor_cores ? 1e-2 : 1e-5;
  const CompressedKeys::Gradients actual = c.distilled(gpu.backend), expected = c.distilled(cpu);
  CHECK_CLOSE(actual.divergences, expected.divergences, 1e-5);
  CHECK_CLOSE(actual.head_weights, expected.head_weights, 1e-5);
  CHECK_CLOSE(actual.queries, expected.queries, products);
  CHECK_CLOSE(actual.keys, expected.keys, products);
  CHECK(c.distilled(gpu.backend) == actual);
}

}  // namespace

TEST_CASE("GPU attention over compressed keys", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t rate : {1, 3, 4}) {
      for (const Shape& s : {Shape{4, 128, 96},
                             {3, 40, 36},
                             {17, 264, 200},
                             {6, 128, 96, 33},
                             {5, 576, 512},
                             {20, 576, 512, 70}}) {
        check_attention(precision, rate, s);
      }
    }
  }
}

TEST_CASE("GPU training over compressed keys, with rows that have no candidates", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t rate : {1, 3, 4}) {
      for (const Shape& s : {Shape{4, 64, 64}, {3, 20, 20}, {2, 128, 128}, {9, 136, 136}}) {
        check_training(precision, rate, s);
        check_training(precision, rate, {s.heads, s.width, s.value_width, 33});
      }
    }
  }
}

TEST_CASE("GPU training of nothing but rows without candidates") {
  CpuBackend cpu;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    INFO(name_of(precision));
    const CompressedKeys c(queries_before_any_key(4), 4, {2, 64, 64});
    CHECK(c.averaged(gpu.backend) == c.sums);
    CHECK(c.distilled(gpu.backend) == c.distilled(cpu));
  }
}

TEST_CASE("GPU selection among compressed keys equals the CPU's") {
  CpuBackend cpu;
  CudaBackend gpu;
  for (const std::int64_t rate : {1, 3, 4}) {
    for (const std::int64_t k : {1, 33}) {
      INFO("k " << k << ", " << rate << " positions per key");
      const CompressedKeys c(queries_that_see(k, rate), rate, {8, 32, 32});
      CHECK(c.selected(gpu, k) == c.selected(cpu, k));
    }
  }
}
