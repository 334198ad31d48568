// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/gemm.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace indexcache::cuda {
namespace {

constexpr std::int64_t kUsualRows = 4096;  // that algorithms are chosen for
constexpr int kCandidates = 16;

cudaDataType_t cuda_type(DType type) {
  return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// Alignment in bytes that an address and the distances from it share, at most 16.
std::uint32_t alignment_of(const void* data, std::int64_t distances, DType type) {
  const auto bits = reinterpret_cast<std::uintptr_t>(data) |
                    static_cast<std::uintptr_t>(distances) * size_of(type) | 16u;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// Numbers in a row of the weight.
std::int64_t weight_width(const Product& p) {
  return p.transposed_weight ? p.cols : p.depth;
}

std::uint32_t alignment_of(const Product& p) {
  return std::min({alignment_of(p.x, p.x_stride | p.x_head_stride, p.type),
                   alignment_of(p.weight, weight_width(p) | p.weight_head_stride, p.type),
                   alignment_of(p.out, p.out_stride | p.out_head_stride, p.out_type)});
}

template <typename T>
void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, T value) {
  INDEXCACHE_CUDA(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(value)));
}
template <typename T>
void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, T value) {
  INDEXCACHE_CUDA(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof(value)));
}
template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         T value) {
  INDEXCACHE_CUDA(
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
}

// A matrix of `count` columns in memory order, one after the other: our rows.
MatrixLayout make_layout(DType type, std::int64_t width, std::int64_t count, std::int64_t stride,
                         std::int64_t heads, std::int64_t head_stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  INDEXCACHE_CUDA(cublasLtMatrixLayoutCreate(&layout, cuda_type(type),
                                             static_cast<std::uint64_t>(width),
                                             static_cast<std::uint64_t>(count), stride));
  MatrixLayout owner(layout);
  set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(heads));
  set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, head_stride);
  return owner;
}

}  // namespace

// Everything about a product but its rows and addresses.
struct Gemm::Prepared {
  MatmulDesc desc;
  MatrixLayout weight, x, out;
  cublasLtMatmulAlgo_t algorithm;
};

Gemm::Gemm(DeviceMemory& memory) {
  cublasLtHandle_t handle = nullptr;
  INDEXCACHE_CUDA(cublasLtCreate(&handle));
  blas_.reset(handle);
  for (auto& workspace : workspaces_) {
    workspace = memory.allocate(kProductWorkspaceBytes, Memory::workspace);
  }
}

Gemm::~Gemm() = default;

// cuBLAS reads columns where we have rows: out^T [cols, rows] = weight [cols, depth] x^T. A weight
// that is transposed here is as cuBLAS wants it.
std::unique_ptr<Gemm::Prepared> Gemm::prepare(const Product& p, std::uint32_t alignment) {
  auto prepared = std::make_unique<Prepared>();
  cublasLtMatmulDesc_t desc = nullptr;
  INDEXCACHE_CUDA(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  prepared->desc.reset(desc);
  set(desc, CUBLASLT_MATMUL_DESC_TRANSA, p.transposed_weight ? CUBLAS_OP_N : CUBLAS_OP_T);
  const std::int64_t width = weight_width(p), weight_rows = p.cols + p.depth - width;
  prepared->weight = make_layout(p.type, width, weight_rows, width, p.heads, p.weight_head_stride);
  prepared->x = make_layout(p.type, p.depth, kUsualRows, p.x_stride, p.heads, p.x_head_stride);
  prepared->out =
      make_layout(p.out_type, p.cols, kUsualRows, p.out_stride, p.heads, p.out_head_stride);

  cublasLtMatmulPreference_t wishes = nullptr;
  INDEXCACHE_CUDA(cublasLtMatmulPreferenceCreate(&wishes));
  const MatmulPreference owner(wishes);
  set(wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      static_cast<std::size_t>(kProductWorkspaceBytes));
  set(wishes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(wishes, attribute, alignment);
  }
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
  int found = 0;
  INDEXCACHE_CUDA(cublasLtMatmulAlgoGetHeuristic(
      blas_.get(), desc, prepared->weight.get(), prepared->x.get(), prepared->out.get(),
      prepared->out.get(), wishes, kCandidates, results.data(), &found));
  for (int i = 0; i < found; ++i) {
    std::int32_t splits = 0;
    std::size_t written = 0;
    INDEXCACHE_CUDA(cublasLtMatmulAlgoConfigGetAttribute(&results[static_cast<std::size_t>(i)].algo,
                                                         CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                                         sizeof(splits), &written));
    if (splits > 1) continue;
    prepared->algorithm = results[static_cast<std::size_t>(i)].algo;
    return prepared;
  }
  throw InternalError({"cuBLASLt has no algorithm for a product",
                       fmt::format("{} columns, depth {}", p.cols, p.depth),
                       fmt::format("{} heads, {} in, {} out, aligned to {} bytes", p.heads,
                                   name_of(p.type), name_of(p.out_type), alignment),
                       "report it with the model's config.json"});
}

Gemm::Prepared& Gemm::prepared(const Product& p) {
  const std::uint32_t alignment = alignment_of(p);
  const std::vector<std::int64_t> key = {p.cols,
                                         p.depth,
                                         p.x_stride,
                                         p.out_stride,
                                         p.heads,
                                         p.x_head_stride,
                                         p.weight_head_stride,
                                         p.out_head_stride,
                                         static_cast<std::int64_t>(p.type),
                                         static_cast<std::int64_t>(p.out_type),
                                         p.transposed_weight ? 1 : 0,
                                         alignment};
  auto& slot = prepared_[key];
  if (!slot) slot = prepare(p, alignment);
  return *slot;
}

void Gemm::run(const Product& p, cudaStream_t stream, int side) {
  if (p.rows == 0 || p.cols == 0) return;
  Prepared& ready = prepared(p);
  set(ready.x.get(), CUBLASLT_MATRIX_LAYOUT_COLS, static_cast<std::uint64_t>(p.rows));
  set(ready.out.get(), CUBLASLT_MATRIX_LAYOUT_COLS, static_cast<std::uint64_t>(p.rows));
  const float one = 1.0f;
  const float keep = p.accumulate ? 1.0f : 0.0f;
  INDEXCACHE_CUDA(cublasLtMatmul(blas_.get(), ready.desc.get(), &one, p.weight, ready.weight.get(),
                                 p.x, ready.x.get(), &keep, p.out, ready.out.get(), p.out,
                                 ready.out.get(), &ready.algorithm, workspaces_[side].get(),
                                 kProductWorkspaceBytes, stream));
}

}  // namespace indexcache::cuda
