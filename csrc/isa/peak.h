// The machine's limit: fused multiply-adds on registers, nothing else.

#pragma once

#include "base/simd.h"

namespace resfuse {
namespace {

// As many chains as a tile has accumulators: more than latency x throughput (4 x 2) of any core.
constexpr int kChains = kRegisters == 32 ? 24 : 12;

inline double multiply_add(int64_t rounds) {
  volatile float half = 0.5f, one = 1.0f;  // unknown to the compiler, which would fold the loop
  const Vec x = splat(half), y = splat(one);
  Vec acc[kChains];
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) acc[i] = splat(static_cast<float>(i));  // all different
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) acc[i] = acc[i] * x + y;
  }
  Vec sum = {};
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sum += acc[i];
  volatile float sink = sum[0];
  (void)sink;
  return 2.0 * kLanes * kChains * static_cast<double>(rounds);
}

}  // namespace
}  // namespace resfuse
