// SPDX-License-Identifier: Apache-2.0
#include "core/host_memory.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <unistd.h>

namespace indexcache {
namespace {

// The number in a file that holds nothing else; -1 where there is none ("max").
std::int64_t number_in(const char* path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : -1;
}

std::int64_t available_to_the_system() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::int64_t kibibytes = 0;
  while (file >> key >> kibibytes && std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return std::int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

}  // namespace

std::int64_t available_host_bytes() {
  const std::int64_t available = available_to_the_system();
  const std::int64_t limit = number_in("/sys/fs/cgroup/memory.max");
  if (limit < 0) return available;
  const std::int64_t used = std::max<std::int64_t>(number_in("/sys/fs/cgroup/memory.current"), 0);
  return std::clamp<std::int64_t>(limit - used, 0, available);
}

}  // namespace indexcache
