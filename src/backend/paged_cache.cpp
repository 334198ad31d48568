// SPDX-License-Identifier: Apache-2.0
#include "backend/paged_cache.h"

#include "backend/device.h"
#include "core/error.h"

namespace indexcache {

std::int64_t PageFormat::position_bytes() const {
  constexpr auto kScale = static_cast<std::int64_t>(sizeof(float));
  switch (layout) {
    case PageLayout::plain:
      return width * static_cast<std::int64_t>(size_of(type));
    case PageLayout::index_fp8:
      return width + kScale;
    case PageLayout::latent_fp8:
      return kLatentFp8Rank + kLatentFp8Rank / kLatentFp8Group * kScale + 2 * kLatentFp8Rope;
  }
  return 0;
}

PagedCache allocate_pages(Device& device, const PageFormat& format, std::int64_t pages) {
  if (format.layout == PageLayout::latent_fp8 && format.width != kLatentFp8Rank + kLatentFp8Rope) {
    throw InternalError({"the FP8 layout of latents holds 512 + 64 numbers per position",
                         "allocate_pages", "", "report it"});
  }
  return {format, device.allocate(pages, format.page_bytes(), DType::u8, Memory::keys)};
}

}  // namespace indexcache
