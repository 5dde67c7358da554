// Runs pooling and its gradient on an ISA, on the threads that it is given.

#pragma once

#include <algorithm>
#include <memory>
#include <new>

#include "base/pieces.h"
#include "isa/isa.h"

namespace resfuse {

// A unit is as many rows of outputs as are worth waking a thread for.
template <typename Schedule>
void run_windows(const Isa& isa, const Pool& pool, const float* in, float* out, int64_t max_threads,
                 Schedule schedule) {
  constexpr int64_t kUnitFloats = 1 << 16;
  // This is in doubles: windows may be far larger than their images.
  double row_floats = static_cast<double>(pool.w.out * pool.channels);
  for (const Side* side : {&pool.d, &pool.h, &pool.w})
    row_floats *= static_cast<double>(side->kernel);
  const int64_t rows = static_cast<int64_t>(kUnitFloats / (row_floats + 1)) + 1;
  const auto pool_rows = [&](int64_t unit) {
    const int64_t first = unit * rows;
    isa.pool_rows(pool, in, out, first, std::min(first + rows, pool.rows()));
  };
  const int64_t units = pool.w.out == 0 ? 0 : ceil_div(pool.rows(), rows);
  parallel_for(units, std::min(units, max_threads), schedule, [&] { return pool_rows; });
}

// False when there is no memory.
template <typename Schedule>
bool run_pool(const Isa& isa, const Pool& pool, const float* in, float* out, int64_t max_threads,
              Schedule schedule) {
  const GlobalSteps steps = global_steps(pool);
  const bool in_one = !is_global(pool) || steps.runs.out_pixels() == 1;
  if (in_one) return run_windows(isa, pool, in, out, max_threads, schedule), true;
  const int64_t floats = pool.batch * steps.runs.out_pixels() * pool.channels;
  const std::unique_ptr<float[]> between(new (std::nothrow) float[static_cast<size_t>(floats)]);
  if (!between) return false;
  run_windows(isa, steps.runs, in, between.get(), max_threads, schedule);
  run_windows(isa, steps.whole, between.get(), out, max_threads, schedule);
  return true;
}

template <typename Schedule>
void run_sum_pool_gradient(const Isa& isa, const Pool& pool, const float* d_out, float* d_in,
                           int64_t max_threads, Schedule schedule) {
  run_windows(isa, mirrored(pool), d_out, d_in, max_threads, schedule);
}

// A unit is some channels of one image, within which windows overlap.
template <typename Schedule>
void run_max_pool_gradient(const Isa& isa, const Pool& pool, const float* in, const float* d_out,
                           float* d_in, int64_t max_threads, Schedule schedule) {
  constexpr int64_t kChannels = 64;
  const int64_t pieces = ceil_div(pool.channels, kChannels);
  const auto unit = [&](int64_t index) {
    const int64_t first = index % pieces * kChannels;
    isa.max_pool_gradient(pool, in, d_out, d_in, index / pieces, first,
                          std::min(first + kChannels, pool.channels));
  };
  const int64_t floats = pool.pixels() * pool.batch * pool.channels;
  parallel_for(pool.batch * pieces, floats > 2 * kPieceFloats ? max_threads : 1, schedule,
               [&] { return unit; });
}

}  // namespace resfuse
