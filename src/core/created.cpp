// SPDX-License-Identifier: Apache-2.0
#include "core/created.h"

#include <fmt/chrono.h>

#include <cstdlib>
#include <ctime>

namespace indexcache {
namespace {

std::optional<std::time_t> source_date_epoch() {
  const char* text = std::getenv("SOURCE_DATE_EPOCH");
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const long long seconds = std::strtoll(text, &end, 10);
  if (*end != '\0' || seconds < 0) return std::nullopt;
  return static_cast<std::time_t>(seconds);
}

}  // namespace

std::string created_time() {
  const std::time_t time = source_date_epoch().value_or(std::time(nullptr));
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time));
}

std::optional<double> recorded_seconds(double seconds) {
  if (source_date_epoch()) return std::nullopt;
  return seconds;
}

}  // namespace indexcache
