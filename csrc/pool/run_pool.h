// Runs planned pooling, its gradient too, on an ISA, on the threads that it is given.

#pragma once

#include <algorithm>
#include <memory>
#include <new>

#include "base/pieces.h"
#include "isa/isa.h"
#include "pool/pool_plan.h"

namespace resfuse {

inline void pool_unit(const Isa& isa, const Windows& windows, const float* in, float* out,
                      int64_t unit) {
  const int64_t first = unit * windows.unit_rows;
  const int64_t last = std::min(first + windows.unit_rows, windows.pool.rows());
  isa.pool_part(windows.pool, in, out, {first, last, 0, windows.pool.channels});
}

inline void run_windows(const Isa& isa, const Windows& windows, const float* in, float* out,
                        int64_t max_threads, const Schedule& schedule) {
  const auto run_unit = [&](int64_t unit) { pool_unit(isa, windows, in, out, unit); };
  parallel_for(windows.units, max_threads, schedule, run_unit);
}

// False when there is no memory.
inline bool run_pool(const Isa& isa, const PoolPlan& plan, const float* in, float* out,
                     int64_t max_threads, const Schedule& schedule) {
  if (plan.between_floats == 0)
    return run_windows(isa, plan.first, in, out, max_threads, schedule), true;
  const std::unique_ptr<float[]> between(
      new (std::nothrow) float[static_cast<size_t>(plan.between_floats)]);
  if (!between) return false;
  run_windows(isa, plan.first, in, between.get(), max_threads, schedule);
  run_windows(isa, plan.second, between.get(), out, max_threads, schedule);
  return true;
}

// A unit is some channels of one image, within which windows overlap.
inline void run_max_pool_gradient(const Isa& isa, const Pool& pool, const float* in,
                                  const float* d_out, float* d_in, int64_t max_threads,
                                  const Schedule& schedule) {
  constexpr int64_t kChannels = 64;
  const int64_t pieces = ceil_div(pool.channels, kChannels);
  const auto unit = [&](int64_t index) {
    const int64_t first = index % pieces * kChannels;
    isa.max_pool_gradient(pool, in, d_out, d_in, index / pieces, first,
                          std::min(first + kChannels, pool.channels));
  };
  const int64_t floats = pool.pixels() * pool.batch * pool.channels;
  parallel_for(pool.batch * pieces, floats > 2 * kPieceFloats ? max_threads : 1, schedule, unit);
}

}  // namespace resfuse
