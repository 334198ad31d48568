// SPDX-License-Identifier: Apache-2.0
#include "core/process_time.h"

#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

namespace indexcache {

double seconds_since_process_start() {
  // proc(5): field 22 of /proc/self/stat, in clock ticks after boot. The command name before it is
  // in parentheses and may hold anything.
  std::string stat;
  std::getline(std::ifstream("/proc/self/stat"), stat);
  double up = 0;
  if (!(std::ifstream("/proc/uptime") >> up) || stat.find(')') == stat.npos) return 0;
  std::istringstream fields(stat.substr(stat.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  if (!(fields >> ticks)) return 0;
  const double seconds = up - ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return seconds > 0 ? seconds : 0;
}

}  // namespace indexcache
