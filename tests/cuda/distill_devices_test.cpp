// SPDX-License-Identifier: Apache-2.0
// Trainings on several GPUs: on one device twice if there are not two.
#include "cuda/gpu.h"
#include "support/spread_stage.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("GPU a training has the same bits on two devices as on one", "[devices][cublas]") {
  int count = 0;
  INDEXCACHE_CUDA(cudaGetDeviceCount(&count));
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto options_of = [&](std::size_t device) {
      return CudaOptions{precision, Precision::fp32, static_cast<int>(device) % count};
    };
    for (const char* sparse : {static_cast<const char*>(nullptr), "FSFSFS"}) {
      INFO(name_of(precision) << (sparse == nullptr ? " dense" : " sparse"));
      SpreadStage<CudaBackend> one(1, sparse, options_of), two(2, sparse, options_of);
      CHECK(two.students->parts() == 2);
      for (auto* stage : {&one, &two}) {
        while (!stage->stage->finished()) stage->stage->step();
      }
      check_same(one, two);
      one.stage->finish();
      two.stage->finish();
      check_same(one, two);
    }
  }
}
