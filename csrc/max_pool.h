// Max pooling, for any vector width: one row of outputs at a time.

#pragma once

#include <limits>

#include "pool.h"
#include "simd.h"

namespace resfuse {
namespace {

// NaN wins: if either is, the comparison is false, and `b` is the NaN or `a` is tested for it.
inline Vec larger(Vec a, Vec b) {
  const Vec chosen = a > b ? a : b;
  return a == a ? chosen : a;
}

inline void pool_pixel(const Pool& pool, const float* image, int64_t top, int64_t left,
                       float* out) {
  const int64_t first_i = top < 0 ? -top : 0, last_i = smaller(pool.window_h, pool.in_h - top);
  const int64_t first_j = left < 0 ? -left : 0, last_j = smaller(pool.window_w, pool.in_w - left);
  for (int64_t c = 0; c < pool.channels; c += kLanes) {
    const int64_t count = pool.channels - c;
    Vec best = splat(-std::numeric_limits<float>::infinity());
    for (int64_t i = first_i; i < last_i; ++i) {
      const float* in = image + ((top + i) * pool.in_w + left) * pool.channels + c;
      for (int64_t j = first_j; j < last_j; ++j)
        best = larger(best, load_some(in + j * pool.channels, count));
    }
    store_some(out + c, best, count);
  }
}

inline void max_pool(const Pool& pool, const float* in, float* out, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* image = in + row / pool.out_h * pool.in_h * pool.in_w * pool.channels;
    const int64_t top = row % pool.out_h * pool.stride_h - pool.pad_top;
    for (int64_t x = 0; x < pool.out_w; ++x)
      pool_pixel(pool, image, top, x * pool.stride_w - pool.pad_left,
                 out + (row * pool.out_w + x) * pool.channels);
  }
}

}  // namespace
}  // namespace resfuse
