// Pooling and its gradient, for any vector width.

#pragma once

#include <limits>

#include "pool/pool_window.h"

namespace resfuse {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Maximum {
  static Vec start() { return splat(kLowest); }
  // NaN wins: if either is, the comparison is false, and `b` is the NaN or `a` is tested for it.
  static Vec of(Vec a, Vec b) {
    const Vec chosen = a > b ? a : b;
    return a == a ? chosen : a;
  }
};

struct Sum {
  static Vec start() { return Vec{}; }
  static Vec of(Vec a, Vec b) { return a + b; }
};

// Reduces `count` channels of a window, no more than fill so many vectors.
template <typename Of, int kVectors>
inline void pool_channels(const PoolWindow& window, const float* in, int64_t count, float* out) {
  Vec acc[kVectors];
  for (Vec& vector : acc) vector = Of::start();
  window.each_tap([&](int64_t at) {
    for (int v = 0; v < kVectors; ++v)
      acc[v] = Of::of(acc[v], load_some(in + at + v * kLanes, count - v * kLanes));
  });
  for (int v = 0; v < kVectors; ++v) store_some(out + v * kLanes, acc[v], count - v * kLanes);
}

// Reduces channels [first, channels) in blocks of so many vectors while they are whole; returns the
// first that is left.
template <typename Of, int kVectors>
inline int64_t pool_blocks(const PoolWindow& window, const float* image, int64_t first,
                           int64_t channels, float* out) {
  constexpr int64_t kBlock = kVectors * kLanes;
  for (; first + kBlock <= channels; first += kBlock)
    pool_channels<Of, kVectors>(window, image + first, kBlock, out + first);
  return first;
}

// Vectors that wait for nothing of each other share the way to their pixels, and hide each other's
// latency: 3x3 windows of four at a time take a fifth less.
template <typename Of>
inline void pool_pixel(const PoolWindow& window, const float* image, int64_t channels, float* out) {
  int64_t c = pool_blocks<Of, 4>(window, image, 0, channels, out);
  c = pool_blocks<Of, 2>(window, image, c, channels, out);
  c = pool_blocks<Of, 1>(window, image, c, channels, out);
  if (c == channels) return;
  // The last vector begins before its turn rather than end beyond the last channel.
  const int64_t at = channels < kLanes ? 0 : channels - kLanes;
  pool_channels<Of, 1>(window, image + at, channels - at, out + at);
}

template <typename Of>
inline void pool_rows(const Pool& pool, const float* in, float* out, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t image = row / (pool.d.out * pool.h.out);
    const float* const pixels = in + image * pool.pixels() * pool.channels;
    each_window(pool, row, [&](const PoolWindow& window, int64_t pixel) {
      pool_pixel<Of>(window, pixels, pool.channels, out + pixel * pool.channels);
    });
  }
}

inline void pool_rows(const Pool& pool, const float* in, float* out, int64_t first, int64_t last) {
  const bool sum = pool.reduction == Reduction::kSum;
  return sum ? pool_rows<Sum>(pool, in, out, first, last)
             : pool_rows<Maximum>(pool, in, out, first, last);
}

// The largest of a window so far, and where it was: of equal ones the first, as in the gradient of
// lax.reduce_window. There a NaN is never kept against what comes after it, and padding is minus
// infinity at no place that could take a gradient.
struct Largest {
  Vec value = splat(std::numeric_limits<float>::quiet_NaN());
  Lanes place = Lanes{} - 1;

  void meet(Vec other, int32_t at) {
    const Lanes kept = value >= other;
    value = kept ? value : other;
    place = kept ? place : Lanes{} + at;
  }
  void meet_padding() { meet(splat(kLowest), -1); }
};

inline Largest largest_of(const PoolWindow& window, const float* image, int64_t count) {
  Largest largest;
  if (window.starts_outside()) largest.meet_padding();
  int32_t index = 0;
  window.each_row([&](int64_t k, int64_t i, int64_t row) {
    for (int64_t j = window.w.first; j < window.w.last; ++j)
      largest.meet(load_some(image + row + window.w.at(j) * window.pixel, count), index++);
    if (window.leaves_after(k, i)) largest.meet_padding();
  });
  return largest;
}

inline void add_some(float* to, Vec value, int64_t count) {
  store_some(to, load_some(to, count) + value, count);
}

// Adds the gradient of one output pixel, `count` channels or a vector of them, to each input that
// was the largest, or to all of them.
inline void pool_pixel_gradient(const Pool& pool, const PoolWindow& window, const float* in,
                                Vec d_out, int64_t count, float* d_in) {
  if (pool.reduction == Reduction::kSum)
    return window.each_tap([&](int64_t at) { add_some(d_in + at, d_out, count); });
  const Largest largest = largest_of(window, in, count);
  int32_t index = 0;
  window.each_tap(
      [&](int64_t at) { add_some(d_in + at, largest.place == index++ ? d_out : Vec{}, count); });
}

// The gradient of one image's channels [first, last): windows overlap, so they take turns. A sum's
// does not read `in`.
inline void pool_gradient(const Pool& pool, const float* in, const float* d_out, float* d_in,
                          int64_t image, int64_t first, int64_t last) {
  const int64_t begin = image * pool.pixels() * pool.channels;
  for (int64_t pixel = 0; pixel < pool.pixels(); ++pixel)
    for (int64_t c = first; c < last; c += kLanes)
      store_some(d_in + begin + pixel * pool.channels + c, Vec{}, last - c);
  const int64_t rows = pool.d.out * pool.h.out;
  for (int64_t row = image * rows; row < (image + 1) * rows; ++row)
    each_window(pool, row, [&](const PoolWindow& window, int64_t pixel) {
      for (int64_t c = first; c < last; c += kLanes) {
        const Vec d = load_some(d_out + pixel * pool.channels + c, last - c);
        pool_pixel_gradient(pool, window, in + begin + c, d, last - c, d_in + begin + c);
      }
    });
}

}  // namespace
}  // namespace resfuse
