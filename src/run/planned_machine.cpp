// SPDX-License-Identifier: Apache-2.0
#include "run/planned_machine.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/expert_products.h"
#include "backend/gpu_scratch.h"
#include "core/bytes.h"
#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace indexcache {
namespace {

// As on a GPU that is here, a part is left to the driver and others (backend/cuda/cuda_device.cpp).
constexpr double kUsableShare = 0.92;
// Servers have about twice as much host memory as their GPUs; half of it may hold weights.
constexpr std::int64_t kHostPerDevice = 2;

struct KnownCard {
  const char* name;
  double gib;
  std::optional<double> speed;
};

// Rates were measured on an H200; an H100 has as many multiprocessors at the same clock, and what
// dominates is bound by them (docs/performance.md). Others: memory only.
constexpr std::array<KnownCard, 4> kCards = {{{"H200", 139.8, 1.0},
                                              {"H100", 79.1, 1.0},
                                              {"A100", 79.2, std::nullopt},
                                              {"B200", 178.4, std::nullopt}}};

// Null if nothing is known about it.
const KnownCard* known_card(const std::string& name) {
  const auto* const found = std::ranges::find(kCards, name, &KnownCard::name);
  return found == kCards.end() ? nullptr : found;
}

class PlannedDevice : public CpuBackend {
 public:
  PlannedDevice(const PlannedMachine& machine, const DeviceOptions& options)
      : CpuBackend(1),
        name_("cuda " + machine.card),
        compute_(options.precision == "fp32" ? DType::f32 : DType::bf16),
        keeps_fp8_(options.precision == "fp8"),
        indexer_(options.indexer_precision == "fp32" ? DType::f32 : compute_),
        bytes_(machine.memory_bytes),
        is_hopper_(machine.speed.has_value()) {
    if (keeps_fp8_ && !is_hopper_ && known_card(machine.card) != nullptr) {
      throw UsageError({"FP8 products need a Hopper GPU",
                        "--on " + machine.card + " --precision fp8", "",
                        "--precision bf16, or --on H100 or H200"});
    }
    if (options.indexer_precision != "fp4") return;
    throw UsageError({"GPUs have no FP4 indexer", "--indexer-precision fp4",
                      "--on plans for a GPU, and FP4 is computed on the CPU only",
                      "--indexer-precision fp8, or --device cpu without --on"});
  }

  std::string name() const override { return name_; }
  std::string remark() const override { return ""; }
  bool is_gpu() const override { return true; }
  DType activation() const override { return compute_; }
  bool keeps_fp8() const override { return keeps_fp8_; }
  DType index_activation() const override { return indexer_; }
  std::int64_t memory_bytes() const override { return bytes_; }
  void limit_memory(std::int64_t bytes) override {
    bytes_ = std::min(bytes_, bytes);
    slot_bytes_ = std::min(slot_bytes_, uploader_slot_bytes(bytes));
  }
  std::int64_t linear_row_bytes(std::int64_t width) const override {
    return gpu_linear_row_bytes(*this, width);
  }
  std::int64_t attention_row_bytes(const ModelShape& shape) const override {
    return gpu_attention_row_bytes(*this, shape, is_hopper_);
  }
  std::int64_t mlp_row_bytes(std::int64_t hidden, std::int64_t middle) const override {
    return gpu_mlp_row_bytes(*this, hidden, middle);
  }
  std::int64_t expert_row_bytes(const ModelShape& shape) const override {
    return gpu_expert_row_bytes(*this, shape, is_hopper_);
  }
  std::int64_t uploader_bytes() const override { return kUploaderSlots * slot_bytes_; }
  // Without tables of weights, which are less than a MiB.
  std::int64_t scratch_bytes(const ModelShape&, std::int64_t, std::int64_t) const override {
    return kProductStreams * kProductWorkspaceBytes;
  }
  // HISA takes about what exact logits do.
  std::int64_t logits_bytes(const ModelShape& shape, std::int64_t rows,
                            std::int64_t longest) const override {
    return gpu_logits_bytes(shape, rows, longest, gpu_logits_chunk(bytes_));
  }

 private:
  std::string name_;
  DType compute_;
  bool keeps_fp8_;
  DType indexer_;
  std::int64_t bytes_, slot_bytes_ = kUploaderSlotBytes;
  bool is_hopper_;  // of the cards that are known by name
};

[[noreturn]] void refuse(const std::string& text) {
  std::string names;
  for (const KnownCard& card : kCards)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", card.name);
  throw UsageError({fmt::format("unknown machine \"{}\"", text), "--on " + text,
                    "known cards are " + names,
                    "--on 8xH200, or --on 4x80GiB for the memory only"});
}

}  // namespace

PlannedMachine parse_machine(const std::string& text) {
  PlannedMachine machine;
  std::string card = text;
  if (const std::size_t x = text.find('x'); x != std::string::npos) {
    const char* end = text.data() + x;
    const auto [stop, error] = std::from_chars(text.data(), end, machine.devices);
    if (error != std::errc() || stop != end || machine.devices < 1 || machine.devices > 4096) {
      refuse(text);
    }
    card = text.substr(x + 1);
  }
  const KnownCard* const known = known_card(card);
  std::int64_t bytes = 0;
  if (known != nullptr) {
    bytes = static_cast<std::int64_t>(known->gib * 1024 * 1024 * 1024);
    machine.speed = known->speed;
  } else if (const auto given = parse_bytes(card)) {
    bytes = *given;
  } else {
    refuse(text);
  }
  machine.card = card;
  machine.memory_bytes = static_cast<std::int64_t>(static_cast<double>(bytes) * kUsableShare);
  machine.host_bytes =
      static_cast<std::int64_t>(std::min<std::size_t>(machine.devices, 8)) * kHostPerDevice * bytes;
  return machine;
}

std::unique_ptr<Backend> make_planned_device(const PlannedMachine& machine,
                                             const DeviceOptions& options) {
  auto device = std::make_unique<PlannedDevice>(machine, options);
  if (const auto limit = parse_bytes(options.memory_limit)) device->limit_memory(*limit);
  return device;
}

}  // namespace indexcache
