// How pooling is cut into work.

#pragma once

#include <cmath>

#include "pool/pool.h"

namespace resfuse {

// A unit is as many rows of outputs as are worth waking a thread for.
struct Windows {
  Pool pool;
  int64_t unit_rows, units;
};

inline Windows cut_windows(const Pool& pool) {
  constexpr int64_t kUnitFloats = 1 << 16;
  // This is in doubles: windows may be far larger than their images.
  double row_floats = static_cast<double>(pool.w.out * pool.channels);
  for (const Side* side : {&pool.d, &pool.h, &pool.w})
    row_floats *= static_cast<double>(side->kernel);
  const int64_t most = static_cast<int64_t>(kUnitFloats / (row_floats + 1)) + 1;
  if (pool.w.out == 0 || pool.rows() == 0) return {pool, 1, 0};
  // Units of one size: of two, each thread reads the half of the rows that it has written itself.
  const int64_t rows = ceil_div(pool.rows(), ceil_div(pool.rows(), most));
  return {pool, rows, ceil_div(pool.rows(), rows)};
}

// Whether the only window is the image, as for a mean over all of it.
inline bool is_global(const Pool& pool) {
  const auto covers = [](const Side& side) {
    const bool dense = side.window_dilation == 1 && side.image_dilation == 1;
    return dense && side.out == 1 && side.pad == 0 && side.kernel == side.in;
  };
  return covers(pool.d) && covers(pool.h) && covers(pool.w);
}

// A global pool in two, of which the second reduces what the first leaves of each run of pixels.
// So threads have runs to share out even of a single image. With runs of sqrt(n) of n pixels both
// are equally long, which is where the error of a sum is smallest: it grows by 2 sqrt(n), not by n.
struct GlobalSteps {
  Pool runs, whole;
};

inline GlobalSteps global_steps(const Pool& pool) {
  constexpr int64_t kMinPixels = 64;  // of fewer a second step costs more than it saves
  const auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(pool.pixels())));
  GlobalSteps steps{pool, pool};
  steps.runs.d = steps.runs.w = steps.whole.d = steps.whole.w = Side{};
  Side &runs = steps.runs.h, &whole = steps.whole.h;
  runs = whole = Side{};
  runs.in = pool.pixels();
  runs.kernel = runs.stride = runs.in < kMinPixels ? runs.in : root;
  runs.out = whole.in = whole.kernel = ceil_div(runs.in, runs.kernel);
  return steps;
}

// All windows at once or, where the only one is a long image, in two steps with memory in between.
struct PoolPlan {
  Windows first, second;
  int64_t between_floats;  // none if there is no second step
};

inline PoolPlan plan_pool(const Pool& pool) {
  const GlobalSteps steps = global_steps(pool);
  const int64_t runs = steps.runs.out_pixels();
  if (!is_global(pool) || runs == 1) return {cut_windows(pool), {}, 0};
  return {cut_windows(steps.runs), cut_windows(steps.whole), pool.batch * runs * pool.channels};
}

}  // namespace resfuse
