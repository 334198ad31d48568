// SPDX-License-Identifier: Apache-2.0
#include "backend/device.h"
#include "core/bytes.h"
#include "core/error.h"

#include <fmt/format.h>

#include <new>

namespace indexcache {

std::shared_ptr<std::byte> Device::allocate_host(std::int64_t bytes) {
  constexpr std::align_val_t kAlignment{kBlobGrain};
  void* memory = ::operator new(static_cast<std::size_t>(bytes), kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw ResourceError({"out of host memory", "stored weights",
                         fmt::format("the request was for {:.2f} GiB", gib(bytes)),
                         "--weights disk (keeps only two layers in memory)"});
  }
  return {static_cast<std::byte*>(memory),
          [](std::byte* host) { ::operator delete(host, kAlignment); }};
}

}  // namespace indexcache
