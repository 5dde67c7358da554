// Which pixels of an image a window of pooling meets.

#pragma once

#include "base/simd.h"
#include "pool/pool.h"

namespace resfuse {
namespace {

// The taps [first, last) of one side of a window, those inside the image. Of a dilated image only
// the taps that meet elements are numbered, not those between.
struct TapRange {
  int64_t start, step;  // tap i is element start + i * step
  int64_t first = 0, last;
  bool ends_outside;

  TapRange(const Side& side, int64_t output)
      : start(output * side.stride - side.pad), step(side.window_dilation), last(side.kernel) {
    if (side.image_dilation > 1) skip_zeros(side.image_dilation);
    // Divisions are slow, and most windows need none.
    if (start < 0) first = (step - 1 - start) / step;
    ends_outside = start + (last - 1) * step >= side.in;
    if (ends_outside) last = start < side.in ? (side.in - start + step - 1) / step : 0;
    if (first > last) first = last;
  }
  bool starts_outside() const { return first > 0; }
  int64_t at(int64_t tap) const { return start + tap * step; }

 private:
  // Counts elements, which lie `dilation` apart, from the first tap i on that meets one; so does
  // every T-th from there on, T the smallest for which T * step is a multiple of the dilation.
  void skip_zeros(int64_t dilation) {
    const int64_t over = start - floor_div(start, dilation) * dilation;
    const int64_t every = step == 1 ? dilation : dilation / common_divisor(dilation, step);
    int64_t i = over == 0 ? 0 : dilation - over;
    if (step > 1)
      for (i = 0; i < smaller(every, last) && (over + i * step) % dilation != 0;) ++i;
    last = i < smaller(every, last) ? (last - i + every - 1) / every : 0;
    start = floor_div(start + i * step, dilation);
    step = every * step / dilation;
  }

  static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
      const int64_t rest = a % b;
      a = b, b = rest;
    }
    return a;
  }
  static int64_t floor_div(int64_t a, int64_t b) { return a < 0 ? -((b - 1 - a) / b) : a / b; }
};

// A window, whose pixels are so many floats apart.
struct PoolWindow {
  TapRange d, h, w;
  int64_t plane, row, pixel;

  PoolWindow(const Pool& pool, const TapRange& depth, const TapRange& height, int64_t x)
      : d(depth),
        h(height),
        w(pool.w, x),
        plane(pool.h.in * pool.w.in * pool.channels),
        row(pool.w.in * pool.channels),
        pixel(pool.channels) {}

  // Calls visit(k, i, floats from the image's first pixel to the row's) for each row.
  template <typename Visit>
  void each_row(const Visit& visit) const {
    for (int64_t k = d.first; k < d.last; ++k)
      for (int64_t i = h.first; i < h.last; ++i) visit(k, i, d.at(k) * plane + h.at(i) * row);
  }

  // Calls visit(floats from the image's first pixel) for each tap inside the image, in their order.
  template <typename Visit>
  void each_tap(const Visit& visit) const {
    each_row([&](int64_t, int64_t, int64_t at) {
      for (int64_t j = w.first; j < w.last; ++j) visit(at + w.at(j) * pixel);
    });
  }

  bool starts_outside() const {
    return d.starts_outside() || h.starts_outside() || w.starts_outside();
  }
  // Whether taps outside the image lie between row (k, i) and the next one inside, or the end.
  bool leaves_after(int64_t k, int64_t i) const {
    if (w.ends_outside) return true;
    if (i + 1 < h.last) return w.starts_outside();
    if (h.ends_outside) return true;
    return k + 1 < d.last ? h.starts_outside() || w.starts_outside() : d.ends_outside;
  }
};

// Calls visit(window, index of its output) for each window of row `row` of outputs, numbered over
// (batch, d.out, h.out).
template <typename Visit>
inline void each_window(const Pool& pool, int64_t row, const Visit& visit) {
  const TapRange depth(pool.d, row / pool.h.out % pool.d.out), height(pool.h, row % pool.h.out);
  for (int64_t x = 0; x < pool.w.out; ++x)
    visit(PoolWindow(pool, depth, height, x), row * pool.w.out + x);
}

}  // namespace
}  // namespace resfuse
