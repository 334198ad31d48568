// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

namespace indexcache {

// Calls work(0), …, work(count - 1) at the same time, each on a thread of its own; a single call is
// made on the calling thread. If calls throw, the exception of the lowest number is thrown after
// all have ended.
void concurrently(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace indexcache
