// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: no name that it gives may lead out of the checkpoint's folder.
#include "fuzz/target.h"
#include "io/checkpoint.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const std::filesystem::path folder = "/checkpoint";
    for (const auto& [name, file] : indexcache::parse_shard_index(text, "x")) {
      if ((folder / file).lexically_normal().parent_path() != folder) __builtin_trap();
    }
  });
}
