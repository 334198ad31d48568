// SPDX-License-Identifier: Apache-2.0
// Storage of the CPU backend: allocation, upload, download, and copies of rows.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/tiles.h"
#include "backend/widen_fp8.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/narrow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <random>

namespace indexcache {
namespace {

constexpr std::align_val_t kAlignment{64};

// Bytes of one element row of a view.
std::size_t row_bytes(const Tensor& tensor) {
  return static_cast<std::size_t>(tensor.cols()) * size_of(tensor.dtype());
}

char* row_address(const Tensor& tensor, std::int64_t row) {
  return tensor.data<char>() +
         row * tensor.stride() * static_cast<std::int64_t>(size_of(tensor.dtype()));
}

template <typename T>
std::vector<T> download_as(const Tensor& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.rows() * tensor.cols()));
  for (std::int64_t row = 0; row < tensor.rows(); ++row) {
    std::memcpy(values.data() + row * tensor.cols(), row_address(tensor, row), row_bytes(tensor));
  }
  return values;
}

}  // namespace

Tensor CpuBackend::allocate(std::int64_t rows, std::int64_t cols, DType dtype, Memory kind) {
  const std::int64_t bytes = rows * cols * static_cast<std::int64_t>(size_of(dtype));
  void* memory = ::operator new(static_cast<std::size_t>(bytes), kAlignment, std::nothrow);
  if (memory == nullptr) {
    throw ResourceError({"out of memory", fmt::format("a tensor of [{}, {}]", rows, cols),
                         fmt::format("the request was for {:.1f} GiB", gib(bytes)),
                         "a smaller --memory-limit, or fewer or shorter calibration sequences"});
  }
  ledger_->add(bytes, kind);
  const auto release = [ledger = ledger_, bytes, kind](void* p) {
    ledger->add(-bytes, kind);
    ::operator delete(p, kAlignment);
  };
  return {std::shared_ptr<void>(memory, release), rows, cols, dtype};
}

Tensor CpuBackend::upload(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
  Tensor tensor = allocate(rows, cols, DType::f32, Memory::weights);
  std::ranges::copy(values, tensor.data<float>());
  return tensor;
}

Tensor CpuBackend::upload(std::span<const std::int32_t> values, std::int64_t rows,
                          std::int64_t cols) {
  Tensor tensor = allocate(rows, cols, DType::i32);
  std::ranges::copy(values, tensor.data<std::int32_t>());
  return tensor;
}

void CpuBackend::fill_random(const Tensor& tensor, float scale, float offset, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  for (std::int64_t row = 0; row < tensor.rows(); ++row) {
    for (std::int64_t c = 0; c < tensor.cols(); ++c) {
      const float unit = static_cast<float>(engine() >> 40) * 0x1p-23f - 1.0f;
      const float value = unit * scale + offset;
      if (tensor.dtype() == DType::f8_e4m3) {
        reinterpret_cast<std::uint8_t*>(row_address(tensor, row))[c] = float_to_e4m3(value);
      } else {
        reinterpret_cast<float*>(row_address(tensor, row))[c] = value;
      }
    }
  }
}

std::vector<float> CpuBackend::download(const Tensor& tensor) {
  if (tensor.dtype() == DType::f8_e4m3) {
    const Tensor scales = tensor.scales();
    return widened_fp8(download_as<std::uint8_t>(tensor), tensor.cols(),
                       scales.empty() ? std::vector<float>() : download_as<float>(scales));
  }
  return download_as<float>(tensor);
}

std::vector<std::int32_t> CpuBackend::download_indices(const Tensor& tensor) {
  return download_as<std::int32_t>(tensor);
}

void CpuBackend::embed(const Tensor& tokens, const Tensor& table, const Tensor& out) {
  const Operation operation(*this, Component::other);
  const auto* ids = tokens.data<std::int32_t>();
  for (std::int64_t row = 0; row < tokens.rows(); ++row) {
    std::memcpy(row_address(out, row), row_address(table, ids[row]), row_bytes(table));
  }
}

void CpuBackend::copy_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                           const Tensor& out) {
  const Operation operation(*this, Component::key_writes);
  cpu::for_each_tile(threads_, from, 256, [&](const cpu::Tile& tile) {
    const Segment& target = to.segments[tile.segment];
    const std::int64_t first = target.first_row + tile.first_position - target.first_position;
    for (std::int64_t row = 0; row < tile.rows; ++row) {
      std::memcpy(row_address(out, first + row), row_address(x, tile.first_row + row),
                  row_bytes(x));
    }
  });
}

void CpuBackend::gather_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                             const Tensor& out) {
  const Operation operation(*this, Component::other);
  cpu::for_each_tile(threads_, to, 256, [&](const cpu::Tile& tile) {
    const Segment& source = from.segments[tile.segment];
    const std::int64_t first = source.first_row + tile.first_position - source.first_position;
    for (std::int64_t row = 0; row < tile.rows; ++row) {
      std::memcpy(row_address(out, tile.first_row + row), row_address(x, first + row),
                  row_bytes(x));
    }
  });
}

}  // namespace indexcache
