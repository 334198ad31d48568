// SPDX-License-Identifier: Apache-2.0
#include "backend/device_spec.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

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

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t end = 0; end != std::string_view::npos;) {
    end = text.find(',');
    parts.push_back(text.substr(0, end));
    if (end != std::string_view::npos) text.remove_prefix(end + 1);
  }
  return parts;
}

// Different numbers, or nullopt.
std::optional<std::vector<int>> indices_of(std::string_view list) {
  std::vector<int> indices;
  for (const std::string_view part : split(list)) {
    const auto index = index_of(part);
    if (!index || std::ranges::count(indices, *index) > 0) return std::nullopt;
    indices.push_back(*index);
  }
  return indices;
}

// Of "cpu,cpu": 2; 0 if it is something else.
int cpu_count(std::string_view list) {
  const auto parts = split(list);
  const bool cpus = std::ranges::all_of(parts, [](std::string_view part) { return part == "cpu"; });
  return cpus ? static_cast<int>(parts.size()) : 0;
}

}  // namespace

DeviceList parse_devices(std::string_view text) {
  if (text == "auto") return {};
  if (text == "cuda") return {DeviceSpec::Kind::cuda};
  if (const int cpus = cpu_count(text); cpus > 0) return {DeviceSpec::Kind::cpu, {}, cpus};
  if (text.starts_with(kGpuPrefix)) {
    const auto gpus = indices_of(text.substr(kGpuPrefix.size()));
    if (gpus) return {DeviceSpec::Kind::cuda, *gpus};
  }
  throw UsageError({fmt::format("unknown device \"{}\"", text), fmt::format("--device {}", text),
                    "",
                    "--device auto, cpu, cuda (all GPUs), cuda:1 for the second GPU, or cuda:0,2"});
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
