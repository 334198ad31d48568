// SPDX-License-Identifier: Apache-2.0
#include "backend/device_spec.h"

#include "core/error.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace indexcache {
namespace {

constexpr std::string_view kGpuPrefix = "cuda:";

std::optional<int> index_of(std::string_view digits) {
  int index = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, index);
  if (error != std::errc() || stop != end || index < 0) return std::nullopt;
  return index;
}

}  // namespace

DeviceSpec parse_device(std::string_view text) {
  if (text == "auto") return {DeviceSpec::Kind::automatic, 0};
  if (text == "cpu") return {DeviceSpec::Kind::cpu, 0};
  if (text == "cuda") return {DeviceSpec::Kind::cuda, 0};
  if (text.starts_with(kGpuPrefix)) {
    const auto index = index_of(text.substr(kGpuPrefix.size()));
    if (index) return {DeviceSpec::Kind::cuda, *index};
  }
  throw UsageError({fmt::format("unknown device \"{}\"", text), fmt::format("--device {}", text),
                    "", "--device auto, cpu, cuda, or cuda:1 for the second GPU"});
}

std::string name_of(const DeviceSpec& device) {
  switch (device.kind) {
    case DeviceSpec::Kind::automatic:
      return "auto";
    case DeviceSpec::Kind::cpu:
      return "cpu";
    case DeviceSpec::Kind::cuda:
      break;
  }
  return device.index == 0 ? "cuda" : fmt::format("{}{}", kGpuPrefix, device.index);
}

}  // namespace indexcache
