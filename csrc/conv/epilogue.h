// From an accumulator to the output, in registers: the one place where an output is stored.

#pragma once

#include "base/simd.h"
#include "conv/conv.h"

namespace resfuse {
namespace {

// The operands as a panel sees them, each at its first channel. Without an epilogue scale is null
// and the accumulator itself is stored.
struct Output {
  float* out;
  const float *residual, *scale, *shift;
  bool relu;

  Output(const Operands& operands, int64_t channel)
      : out(operands.out + channel),
        residual(nullptr),
        scale(nullptr),
        shift(nullptr),
        relu(false) {
    const Epilogue* epilogue = operands.epilogue;
    if (!epilogue) return;
    residual = epilogue->residual ? epilogue->residual + channel : nullptr;
    scale = epilogue->scale + channel;
    shift = epilogue->shift + channel;
    relu = epilogue->relu;
  }
};

// Finishes `count` (at least one, at most kLanes) channels from `channel` of the panel on, of the
// pixel whose outputs begin at `pixel`.
inline void finish_vector(const Output& to, int64_t pixel, int64_t channel, int64_t count,
                          Vec acc) {
  const int64_t at = pixel + channel;
  if (to.scale) {
    acc = acc * load_some(to.scale + channel, count) + load_some(to.shift + channel, count);
    if (to.residual) acc += load_some(to.residual + at, count);
    if (to.relu) acc = relu(acc);
  }
  store_some(to.out + at, acc, count);
}

// Finishes M pixels, `stride` apart, of N whole vectors each, and asks what the branches ask once.
template <int M, int N>
__attribute__((always_inline)) inline void finish_tile(const Output& to, int64_t pixel,
                                                       int64_t stride, Vec (&acc)[M][N]) {
  if (to.scale) {
    Vec scale[N], shift[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      scale[n] = load(to.scale + n * kLanes);
      shift[n] = load(to.shift + n * kLanes);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] = acc[m][n] * scale[n] + shift[n];
  }
  if (to.residual)
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] += load(to.residual + pixel + m * stride + n * kLanes);
  if (to.relu)
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] = relu(acc[m][n]);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(to.out + pixel + m * stride + n * kLanes, acc[m][n]);
}

}  // namespace
}  // namespace resfuse
