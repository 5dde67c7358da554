// Max pooling, for any vector width: one row of outputs at a time.

#pragma once

#include <limits>

#include "base/simd.h"
#include "pool/pool.h"

namespace resfuse {
namespace {

// NaN wins: if either is, the comparison is false, and `b` is the NaN or `a` is tested for it.
inline Vec larger(Vec a, Vec b) {
  const Vec chosen = a > b ? a : b;
  return a == a ? chosen : a;
}

inline void pool_pixel(const Pool& pool, const float* image, int64_t top, int64_t left,
                       float* out) {
  const int64_t first_i = top < 0 ? -top : 0, last_i = smaller(pool.h.kernel, pool.h.in - top);
  const int64_t first_j = left < 0 ? -left : 0, last_j = smaller(pool.w.kernel, pool.w.in - left);
  for (int64_t c = 0; c < pool.channels; c += kLanes) {
    const int64_t count = pool.channels - c;
    Vec best = splat(-std::numeric_limits<float>::infinity());
    for (int64_t i = first_i; i < last_i; ++i) {
      const float* row = image + (top + i) * pool.w.in * pool.channels + c;
      for (int64_t j = first_j; j < last_j; ++j)
        best = larger(best, load_some(row + (left + j) * pool.channels, count));
    }
    store_some(out + c, best, count);
  }
}

inline void max_pool(const Pool& pool, const float* in, float* out, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* image = in + row / pool.h.out * pool.h.in * pool.w.in * pool.channels;
    const int64_t top = row % pool.h.out * pool.h.stride - pool.h.pad;
    for (int64_t x = 0; x < pool.w.out; ++x)
      pool_pixel(pool, image, top, x * pool.w.stride - pool.w.pad,
                 out + (row * pool.w.out + x) * pool.channels);
  }
}

// The largest of a window so far, and where it was: of equal ones the first, as in the gradient of
// lax.reduce_window. There a NaN is never kept against what comes after it, and padding is minus
// infinity at no place that could take a gradient.
struct Largest {
  Vec value = splat(-std::numeric_limits<float>::infinity());
  Lanes place = Lanes{} - 1;

  void meet(Vec other, int32_t at) {
    const Lanes kept = value >= other;
    value = kept ? value : other;
    place = kept ? place : Lanes{} + at;
  }
  void meet_padding() { meet(splat(-std::numeric_limits<float>::infinity()), -1); }
};

// Adds the gradient of one output pixel, a vector of channels, to the input that was the largest.
inline void pool_pixel_gradient(const Pool& pool, const float* image, int64_t top, int64_t left,
                                Vec d_out, int64_t count, float* d_image) {
  const int64_t first_i = top < 0 ? -top : 0, last_i = smaller(pool.h.kernel, pool.h.in - top);
  const int64_t first_j = left < 0 ? -left : 0, last_j = smaller(pool.w.kernel, pool.w.in - left);
  const bool right = last_j < pool.w.kernel, below = last_i < pool.h.kernel;
  const auto at = [&](int64_t i, int64_t j) {
    return ((top + i) * pool.w.in + left + j) * pool.channels;
  };
  Largest largest;
  const bool padding_first = first_i > 0 || first_j > 0;
  int32_t index = 0;
  for (int64_t i = first_i; i < last_i; ++i) {
    for (int64_t j = first_j; j < last_j; ++j, ++index) {
      const Vec value = load_some(image + at(i, j), count);
      if (index == 0 && !padding_first)
        largest = {value, Lanes{}};
      else
        largest.meet(value, index);
    }
    if (right || (i + 1 < last_i ? first_j > 0 : below)) largest.meet_padding();
  }
  index = 0;
  for (int64_t i = first_i; i < last_i; ++i)
    for (int64_t j = first_j; j < last_j; ++j, ++index) {
      float* const to = d_image + at(i, j);
      store_some(to, load_some(to, count) + (largest.place == index ? d_out : Vec{}), count);
    }
}

// The gradient of one image's channels [first, last): windows overlap, so they take turns.
inline void max_pool_gradient(const Pool& pool, const float* in, const float* d_out, float* d_in,
                              int64_t image, int64_t first, int64_t last) {
  const int64_t image_floats = pool.h.in * pool.w.in * pool.channels;
  in += image * image_floats, d_in += image * image_floats;
  d_out += image * pool.h.out * pool.w.out * pool.channels;
  for (int64_t pixel = 0; pixel < pool.h.in * pool.w.in; ++pixel)
    for (int64_t c = first; c < last; c += kLanes)
      store_some(d_in + pixel * pool.channels + c, Vec{}, last - c);
  for (int64_t y = 0; y < pool.h.out; ++y)
    for (int64_t x = 0; x < pool.w.out; ++x)
      for (int64_t c = first; c < last; c += kLanes) {
        const float* from = d_out + (y * pool.w.out + x) * pool.channels + c;
        pool_pixel_gradient(pool, in + c, y * pool.h.stride - pool.h.pad,
                            x * pool.w.stride - pool.w.pad, load_some(from, last - c), last - c,
                            d_in + c);
      }
}

}  // namespace
}  // namespace resfuse
