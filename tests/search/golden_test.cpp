// SPDX-License-Identifier: Apache-2.0
#include "search/golden_case.h"
#include "support/environment.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("golden cases of transformers, on every instruction set of this machine") {
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!isa.runs_here()) continue;
    INFO(isa.name);
    const ScopedVariable asked("INDEXCACHE_CPU_ISA", std::string(isa.name).c_str());
    CpuBackend fp8(0, Precision::fp32, Precision::fp8), fp4(0, Precision::fp32, Precision::fp4);
    check_golden_cases<CpuBackend>({{"fp8", &fp8}, {"fp4", &fp4}});
  }
}

TEST_CASE("fused expert tensors give the same bits as one tensor an expert") {
  const TempFolder folder;
  copy_folder(golden("deepseek_v32_tiny"), folder.path());
  auto tensors = read_safetensors(folder / "model.safetensors");
  std::map<std::string, std::string> bytes;
  for (const StoredTensor& tensor : tensors) bytes[tensor.name] = tensor.bytes;
  for (int layer = 2; layer < 6; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
    std::string gate_up, down;
    for (int e = 0; e < 16; ++e) {
      const std::string expert = prefix + std::to_string(e) + ".";
      gate_up += bytes.at(expert + "gate_proj.weight") + bytes.at(expert + "up_proj.weight");
      down += bytes.at(expert + "down_proj.weight");
    }
    std::erase_if(tensors, [&](const StoredTensor& t) { return t.name.starts_with(prefix); });
    tensors.push_back({prefix + "gate_up_proj", "F32", {16, 48, 64}, gate_up});
    tensors.push_back({prefix + "down_proj", "F32", {16, 64, 24}, down});
  }
  write_safetensors(folder / "model.safetensors", tensors);

  const SafetensorsFile file(golden("deepseek_v32_tiny") / "golden_full.safetensors");
  const TokenSet tokens = tokens_of(file);
  const Pattern full = Pattern::all_full(6);
  Session<> separate(golden("deepseek_v32_tiny"));
  Session<> fused(folder.path());
  CHECK(separate.evaluator(tokens).losses(std::span(&full, 1)) ==
        fused.evaluator(tokens).losses(std::span(&full, 1)));
}
