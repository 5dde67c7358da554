// From an accumulator to the output, in registers: the one place where an output is stored.

#pragma once

#include "conv.h"
#include "simd.h"

namespace resfuse {
namespace {

// A panel's part of the operands, all at its first channel. In training there is no epilogue:
// scale is null and the accumulator itself is stored.
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

}  // namespace
}  // namespace resfuse
