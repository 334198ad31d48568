// SPDX-License-Identifier: Apache-2.0
#include "core/bytes.h"

#include <fmt/format.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace indexcache {
namespace {

constexpr std::string_view kPrefixes = "KMGT";

}  // namespace

std::optional<std::int64_t> parse_bytes(const std::string& text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) == 0) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  double factor = 1;
  if (!unit.empty() && unit != "B") {
    const std::size_t power = kPrefixes.find(unit.front()) + 1;
    const std::string rest = unit.substr(1);
    if (power == 0 || (!rest.empty() && rest != "B" && rest != "iB")) return std::nullopt;
    factor = std::pow(rest == "B" ? 1000.0 : 1024.0, static_cast<double>(power));
  }
  const double bytes = number * factor;
  if (!(bytes >= 1 && bytes < 0x1p62)) return std::nullopt;
  return static_cast<std::int64_t>(bytes);
}

std::string bytes_text(std::int64_t bytes) {
  if (bytes >= std::int64_t{1} << 30) return fmt::format("{:.2f} GiB", gib(bytes));
  if (bytes >= std::int64_t{1} << 20) return fmt::format("{:.1f} MiB", gib(bytes) * 1024);
  if (bytes >= 1024) return fmt::format("{:.1f} KiB", gib(bytes) * 1024 * 1024);
  return fmt::format("{} B", bytes);
}

}  // namespace indexcache
