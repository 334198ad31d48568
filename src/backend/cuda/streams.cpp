// SPDX-License-Identifier: Apache-2.0
#include "kernels/streams.h"

#include "backend/cuda/cuda_backend.h"
#include "kernels/stream_products.h"

namespace indexcache {

void CudaBackend::read_streams(const RowLayout& rows, const Tensor& streams,
                               const StreamWeights& weights, const StreamRule& rule,
                               const Tensor& out, const Tensor& factors) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::norms);
  // The norm of a row is one number, so that it can follow the product.
  const Tensor products = allocate(rows.total, weights.mixer.rows(), DType::f32);
  Tensor squares = allocate(rows.total, 1, DType::f32);
  const kernels::StreamProductsParams product{.x = streams.data<float>(),
                                              .stride = streams.stride(),
                                              .mixer = weights.mixer.data<float>(),
                                              .products = products.data<float>(),
                                              .squares = squares.data<float>(),
                                              .rows = rows.total,
                                              .columns = static_cast<int>(weights.mixer.rows()),
                                              .depth = static_cast<int>(streams.cols())};
  if (kernels::stream_products_apply(product)) {
    INDEXCACHE_CUDA(kernels::stream_products(product, stream_.get()));
  } else {
    squares = Tensor();
    multiply(streams, weights.mixer, products, Store::assign, stream_.get(), 0);
  }
  INDEXCACHE_CUDA(kernels::read_streams({.streams = streams.data<float>(),
                                         .stride = streams.stride(),
                                         .products = products.data<float>(),
                                         .squares = squares.data<float>(),
                                         .base = weights.base.data<float>(),
                                         .scale = weights.scale.data<float>(),
                                         .norm_eps = rule.norm_eps,
                                         .eps = rule.eps,
                                         .factor_scale = rule.factor_scale,
                                         .factor_eps = rule.factor_eps,
                                         .mixing_rounds = rule.mixing_rounds,
                                         .out = out.data<float>(),
                                         .factors = factors.data<float>(),
                                         .rows = rows.total,
                                         .n = static_cast<int>(rule.count),
                                         .width = out.cols()},
                                        stream_.get()));
}

void CudaBackend::write_streams(const RowLayout& rows, const Tensor& x, const Tensor& factors,
                                const Tensor& streams) {
  const Operation operation(*this, Component::norms);
  const std::int64_t count = streams.cols() / x.cols();
  INDEXCACHE_CUDA(kernels::write_streams({.y = x.data<float>(),
                                          .factors = factors.data<float>(),
                                          .mixes = factors.cols() > count,
                                          .streams = streams.data<float>(),
                                          .stride = streams.stride(),
                                          .rows = rows.total,
                                          .n = static_cast<int>(count),
                                          .width = x.cols()},
                                         stream_.get()));
}

}  // namespace indexcache
