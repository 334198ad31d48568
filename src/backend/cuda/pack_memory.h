// SPDX-License-Identifier: Apache-2.0
// Device memory for packed sets (kernels/packed_sets.h).
#pragma once

#include "backend/device.h"
#include "kernels/packed_sets.h"

namespace indexcache::cuda {

class PackMemory {
 public:
  // For the sets of `rows` rows; nothing if `packing` packs nothing.
  PackMemory(Device& device, const kernels::PackedSets& packing, std::int64_t rows);

  // `packing` with its memory, as long as this object lives.
  kernels::PackedSets sets() const;

 private:
  kernels::PackedSets packing_;
  Tensor keys_, members_, packs_, rest_, counts_;
};

}  // namespace indexcache::cuda
