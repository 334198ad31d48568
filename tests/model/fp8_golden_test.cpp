// SPDX-License-Identifier: Apache-2.0
// FP8 products of PyTorch (tests/interop/check_fp8_products.py) in the reference backend.
#include "backend/cpu/cpu_backend.h"
#include "io/safetensors.h"
#include "support/compare.h"
#include "support/files.h"
#include "support/fp8.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

template <typename T>
std::vector<T> golden_values(const SafetensorsFile& file, const std::string& name) {
  const RawTensor& tensor = file.tensors().at(name);
  std::vector<T> values(static_cast<std::size_t>(tensor.elements()));
  file.read(tensor, 0, std::as_writable_bytes(std::span(values)));
  return values;
}

}  // namespace

TEST_CASE("FP8 products are those of PyTorch, from the same quantized operands") {
  const SafetensorsFile file(golden("fp8_products") / "products.safetensors");
  for (const std::string name : {"whole", "partial", "blocks"}) {
    INFO(name);
    const auto& shape = file.tensors().at(name + ".x").shape;
    const auto& weight_shape = file.tensors().at(name + ".weight").shape;
    const std::int64_t rows = shape[0], depth = shape[1], cols = weight_shape[0];
    const auto x = golden_values<float>(file, name + ".x");
    const auto numbers = golden_values<std::uint8_t>(file, name + ".numbers");
    const auto scales = golden_values<float>(file, name + ".scales");
    std::size_t wrong = 0, block = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t first = 0; first < depth; first += 128, ++block) {
        const QuantizedGroup group = quantized_group(x.data() + r * depth + first,
                                                     std::min<std::int64_t>(128, depth - first));
        wrong += group.scale == scales[block] ? 0 : 1;
        for (std::size_t i = 0; i < group.numbers.size(); ++i) {
          const auto at = static_cast<std::size_t>(r * depth + first) + i;
          wrong += group.numbers[i] == e4m3_number(numbers[at]) ? 0 : 1;
        }
      }
    }
    CHECK(wrong == 0);
    Fp8Matrix weight(cols, depth, 1);
    weight.codes = golden_values<std::uint8_t>(file, name + ".weight");
    weight.scales = golden_values<float>(file, name + ".weight_scales");
    CpuBackend backend(1, Precision::fp8);
    RowLayout layout;
    layout.append(rows, 0);
    const Tensor out = backend.allocate(rows, cols);
    backend.linear(layout, backend.upload(x, rows, depth), weight.put(backend), out, Store::assign);
    CHECK_CLOSE(backend.download(out), golden_values<float>(file, name + ".out"), 1e-6);
  }
}
