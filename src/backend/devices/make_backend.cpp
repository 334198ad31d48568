// SPDX-License-Identifier: Apache-2.0
#include "backend/devices/make_backend.h"

#include "backend/make_cpu_backend.h"
#include "core/concurrently.h"
#include "core/error.h"
#include "core/thread_count.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <string_view>

namespace indexcache {
namespace {

constexpr std::string_view kAndKind = " + ";

// Chooses between GPU and CPU; `reason` says why an automatic choice was not a GPU.
bool wants_gpu(const DeviceSpec& device, std::string& reason) {
  if (device.kind == DeviceSpec::Kind::automatic) return cuda_is_usable(reason, 0);
  return device.kind == DeviceSpec::Kind::cuda;
}

void require_gpu_indexer(Precision indexer) {
  if (indexer != Precision::fp4) return;
  throw UsageError({"an FP4 indexer is computed on the CPU only", "--indexer-precision fp4",
                    "GPUs have fp32, bf16 and fp8", "--device cpu, or --indexer-precision fp8"});
}

std::unique_ptr<Backend> make_unlimited(const BackendOptions& options) {
  std::string reason;
  if (wants_gpu(options.device, reason)) {
    require_gpu_indexer(options.indexer.value_or(options.compute));
    return make_cuda_backend(
        {options.compute, options.indexer.value_or(options.compute), options.device.index});
  }
  const bool named = options.device.kind == DeviceSpec::Kind::cpu;
  const std::string why = named ? "--device cpu was given" : "no GPU is usable: " + reason;
  const std::string_view gpu = named ? "--device cuda, or " : "";
  if (options.compute == Precision::bf16) {
    throw UsageError({"the CPU backend supports only fp32 and, for FP8 checkpoints, fp8",
                      "--precision bf16", why, fmt::format("{}--precision fp32", gpu)});
  }
  return make_cpu_backend(options.threads, options.compute,
                          options.indexer.value_or(Precision::fp32));
}

void require_same_kind(const DeviceSpec& first, const Backend& of_first, const DeviceSpec& other,
                       const Backend& of_other) {
  if (of_first.name() == of_other.name()) return;
  throw UsageError({"the devices are of different kinds",
                    fmt::format("--device cuda:{},{}", first.index, other.index),
                    fmt::format("\"{}\" and \"{}\" give results that differ in the last bits",
                                of_first.name(), of_other.name()),
                    fmt::format("--device cuda:{}, a list of GPUs of one kind, or --mixed, which "
                                "gives up equal bits",
                                first.index)});
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  std::unique_ptr<Backend> backend = make_unlimited(options);
  if (options.memory_limit) backend->limit_memory(*options.memory_limit);
  return backend;
}

std::vector<DeviceSpec> choose_devices(const DeviceList& list, int most) {
  using Kind = DeviceSpec::Kind;
  if (list.kind == Kind::cpu) {
    return std::vector<DeviceSpec>(static_cast<std::size_t>(list.cpus), {Kind::cpu, 0});
  }
  std::vector<int> gpus = list.gpus;
  if (gpus.empty()) {
    gpus.resize(static_cast<std::size_t>(cuda_device_count()));
    std::iota(gpus.begin(), gpus.end(), 0);
  }
  if (most > static_cast<int>(gpus.size())) {
    throw ResourceError(
        {fmt::format("there are not {} GPUs", most), fmt::format("--gpus {}", most),
         fmt::format("{} {} {}", gpus.size(), gpus.size() == 1 ? "GPU is" : "GPUs are",
                     list.gpus.empty() ? "visible" : "named by --device"),
         "a smaller --gpus (CUDA_VISIBLE_DEVICES may hide some)"});
  }
  if (most > 0) gpus.resize(static_cast<std::size_t>(most));
  // Without a GPU, making a backend says why.
  if (gpus.empty()) return {{list.kind, 0}};
  std::string reason;
  if (list.kind == Kind::automatic && !cuda_is_usable(reason, gpus.front())) {
    return {{Kind::automatic, 0}};
  }
  std::vector<DeviceSpec> devices;
  for (const int gpu : gpus) devices.push_back({Kind::cuda, gpu});
  return devices;
}

Backends make_backends(const std::vector<DeviceSpec>& devices, BackendOptions options, bool mixed) {
  const auto count = static_cast<int>(devices.size());
  if (count > 1 && devices.front().kind == DeviceSpec::Kind::cpu) {
    options.threads = std::max(thread_count(options.threads) / count, 1);
  }
  // At the same time: a GPU needs some seconds until it can be used.
  Backends backends(devices.size());
  concurrently(devices.size(), [&](std::size_t i) {
    BackendOptions own = options;
    own.device = devices[i];
    backends[i] = make_backend(own);
  });
  for (std::size_t i = 1; i < devices.size() && !mixed; ++i) {
    require_same_kind(devices.front(), *backends.front(), devices[i], *backends[i]);
  }
  if (count == 1) return backends;
  // The same plan serves all of them. Backends on the CPU share its memory.
  std::int64_t memory = backends.front()->memory_bytes();
  for (const auto& backend : backends) memory = std::min(memory, backend->memory_bytes());
  if (!backends.front()->is_gpu() && !options.memory_limit) memory /= count;
  for (const auto& backend : backends) backend->limit_memory(memory);
  return backends;
}

std::string kinds_of(const std::vector<std::string>& names) {
  std::set<std::string> kinds;
  for (std::string rest : names) {
    for (auto at = rest.find(kAndKind); at != std::string::npos; at = rest.find(kAndKind)) {
      kinds.insert(rest.substr(0, at));
      rest.erase(0, at + kAndKind.size());
    }
    kinds.insert(rest);
  }
  return fmt::format("{}", fmt::join(kinds, kAndKind));
}

std::string kinds_of(const Backends& backends) {
  std::vector<std::string> names;
  for (const auto& backend : backends) names.push_back(backend->name());
  return kinds_of(names);
}

bool is_mixed(const std::string& kinds) {
  return kinds.find(kAndKind) != std::string::npos;
}

}  // namespace indexcache
