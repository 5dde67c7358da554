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

// Reduces as many channels of a window as fill so many vectors.
template <typename Of, int kVectors>
inline void pool_channels(const PoolWindow& window, const float* in, float* out) {
  Vec acc[kVectors];
#pragma GCC unroll 4
  for (Vec& vector : acc) vector = Of::start();
  window.each_tap([&](int64_t at) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[v] = Of::of(acc[v], load(in + at + v * kLanes));
  });
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, acc[v]);
}

// Where the images end, and the outputs that a call writes.
struct PoolEnds {
  const float *in, *out;
};

// Reduces `count` channels, fewer than fill a vector, in a whole one: the pixels that it reads and
// writes beyond them follow in memory, and outputs are written in their order, so that they are
// overwritten. Only at the ends there are none.
template <typename Of>
inline void pool_few_channels(const PoolWindow& window, const float* in, int64_t count, float* out,
                              const PoolEnds& ends) {
  Vec acc = Of::start();
  window.each_tap([&](int64_t at) {
    const bool whole = ends.in - (in + at) >= kLanes;
    acc = Of::of(acc, whole ? load(in + at) : load_some(in + at, count));
  });
  store_some(out, acc, ends.out - out >= kLanes ? kLanes : count);
}

// Reduces channels [first, channels) in blocks of so many vectors while they are whole; returns the
// first that is left.
template <typename Of, int kVectors>
inline int64_t pool_blocks(const PoolWindow& window, const float* image, int64_t first,
                           int64_t channels, float* out) {
  constexpr int64_t kBlock = kVectors * kLanes;
  for (; first + kBlock <= channels; first += kBlock)
    pool_channels<Of, kVectors>(window, image + first, out + first);
  return first;
}

// Vectors that wait for nothing of each other share the way to their pixels, and hide each other's
// latency: 3x3 windows of four at a time take a fifth less.
template <typename Of>
inline void pool_pixel(const PoolWindow& window, const float* image, const PoolPart& part,
                       float* out, const PoolEnds& ends) {
  int64_t c = part.first_channel;
  c = pool_blocks<Of, 4>(window, image, c, part.last_channel, out);
  c = pool_blocks<Of, 2>(window, image, c, part.last_channel, out);
  c = pool_blocks<Of, 1>(window, image, c, part.last_channel, out);
  if (c < part.last_channel)
    pool_few_channels<Of>(window, image + c, part.last_channel - c, out + c, ends);
}

template <typename Of>
inline void pool_part(const Pool& pool, const float* in, float* out, const PoolPart& part) {
  const int64_t image_floats = pool.pixels() * pool.channels;
  const bool all = part.first_channel == 0 && part.last_channel == pool.channels;
  PoolEnds ends{in + pool.batch * image_floats, out + part.last_row * pool.w.out * pool.channels};
  for (int64_t row = part.first_row; row < part.last_row; ++row) {
    const float* const image = in + row / (pool.d.out * pool.h.out) * image_floats;
    each_window(pool, row, [&](const PoolWindow& window, int64_t pixel) {
      float* const to = out + pixel * pool.channels;
      // Behind some of the channels lie those of another part.
      if (!all) ends.out = to + part.last_channel;
      pool_pixel<Of>(window, image, part, to, ends);
    });
  }
}

inline void pool_part(const Pool& pool, const float* in, float* out, const PoolPart& part) {
  const bool sum = pool.reduction == Reduction::kSum;
  return sum ? pool_part<Sum>(pool, in, out, part) : pool_part<Maximum>(pool, in, out, part);
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

// Adds the gradient of one output pixel, `count` channels or a vector of them, to the inputs that
// were the largest.
inline void max_pixel_gradient(const PoolWindow& window, const float* in, Vec d_out, int64_t count,
                               float* d_in) {
  const Largest largest = largest_of(window, in, count);
  int32_t index = 0;
  window.each_tap(
      [&](int64_t at) { add_some(d_in + at, largest.place == index++ ? d_out : Vec{}, count); });
}

// The gradient of one image's channels [first, last): windows overlap, so they take turns.
inline void max_pool_gradient(const Pool& pool, const float* in, const float* d_out, float* d_in,
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
        max_pixel_gradient(window, in + begin + c, d, last - c, d_in + begin + c);
      }
    });
}

}  // namespace
}  // namespace resfuse
