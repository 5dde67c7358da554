// Runs max pooling and its gradient on an ISA, on the threads that it is given.

#pragma once

#include <algorithm>

#include "base/pieces.h"
#include "isa/isa.h"

namespace resfuse {

// A unit is as many rows of outputs as are worth waking a thread for.
template <typename Schedule>
void run_pool(const Isa& isa, const Pool& pool, const float* in, float* out, int64_t max_threads,
              Schedule schedule) {
  constexpr int64_t kUnitFloats = 1 << 16;
  // This is in doubles: windows may be far larger than their images.
  const double row_floats = static_cast<double>(pool.w.out * pool.channels) *
                            static_cast<double>(pool.h.kernel) * static_cast<double>(pool.w.kernel);
  const int64_t rows = static_cast<int64_t>(kUnitFloats / (row_floats + 1)) + 1;
  const auto pool_rows = [&](int64_t unit) {
    const int64_t last = (unit + 1) * rows;
    isa.max_pool(pool, in, out, unit * rows, last < pool.rows() ? last : pool.rows());
  };
  const int64_t units = pool.w.out == 0 ? 0 : (pool.rows() + rows - 1) / rows;
  parallel_for(units, units < max_threads ? units : max_threads, schedule,
               [&] { return pool_rows; });
}

// A unit is some channels of one image, within which windows overlap.
template <typename Schedule>
void run_pool_gradient(const Isa& isa, const Pool& pool, const float* in, const float* d_out,
                       float* d_in, int64_t max_threads, Schedule schedule) {
  constexpr int64_t kChannels = 64;
  const int64_t pieces = (pool.channels + kChannels - 1) / kChannels;
  const auto unit = [&](int64_t index) {
    const int64_t first = index % pieces * kChannels;
    isa.max_pool_gradient(pool, in, d_out, d_in, index / pieces, first,
                          std::min(first + kChannels, pool.channels));
  };
  const int64_t floats = pool.h.in * pool.w.in * pool.batch * pool.channels;
  parallel_for(pool.batch * pieces, floats > 2 * kPieceFloats ? max_threads : 1, schedule,
               [&] { return unit; });
}

}  // namespace resfuse
