// The window of inputs that a pixel of the output sees: where it lies in the image, and copies of
// it where it hangs over an edge.

#pragma once

#include "base/simd.h"
#include "conv/conv.h"
#include "conv/plan.h"

namespace resfuse {
namespace {

alignas(64) const float kZeros[kMaxPassFloats] = {};  // what lies outside the image

// Where a pixel's window begins, negative in the padding, and whether all of it is in the image.
struct Corner {
  int64_t image, y, x;
  bool inside;
};

// Locates the windows of `count` pixels from `pixel` on.
inline void locate(const Conv& conv, int64_t pixel, int64_t count, Corner* corners) {
  int64_t x = pixel % conv.w.out;
  int64_t y = pixel / conv.w.out % conv.h.out;
  int64_t image = pixel / conv.w.out / conv.h.out;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t top = y * conv.h.stride - conv.h.pad;
    const int64_t left = x * conv.w.stride - conv.w.pad;
    const bool inside = top >= 0 && top + conv.h.kernel <= conv.h.in && left >= 0 &&
                        left + conv.w.kernel <= conv.w.in;
    corners[i] = {image, top, left, inside};
    if (++x < conv.w.out) continue;
    x = 0;
    if (++y < conv.h.out) continue;
    y = 0;
    ++image;
  }
}

// Copies vectors, of which the last two overlap: there is no scalar remainder.
inline void copy(const float* from, int64_t length, float* to) {
  if (length < kLanes) {
    for (int64_t k = 0; k < length; ++k) to[k] = from[k];
    return;
  }
  for (int64_t k = 0; k + kLanes < length; k += kLanes) store(to + k, load(from + k));
  store(to + length - kLanes, load(from + length - kLanes));
}

// Floats of an image's row from `begin` on, which may be outside it: `real` of them, and zeros up
// to `length`.
struct Run {
  int64_t begin, real, length;
};

// Copies a run; what of it lies outside the row is zero, too.
inline void copy_run(const Conv& conv, const float* row, const Run& run, float* to) {
  const int64_t left = run.begin < 0 ? -run.begin : 0;
  const int64_t right = smaller(run.real, conv.w.in * conv.in_c - run.begin);
  for (int64_t k = 0; k < left; ++k) to[k] = 0.0f;
  for (int64_t k = left; k < right; ++k) to[k] = row[run.begin + k];
  for (int64_t k = right; k < run.length; ++k) to[k] = 0.0f;
}

// Returns a pointer into row `y` itself, which begins at `in + row`; to zeros; or, where the run
// crosses the left or right edge or has fewer real floats, to a padded copy, which it makes in
// `to`.
inline const float* point_at_run(const Conv& conv, const float* in, int64_t row, int64_t y,
                                 const Run& run, float* to) {
  const int64_t row_floats = conv.w.in * conv.in_c;
  const bool outside = run.begin + run.real <= 0 || run.begin >= row_floats;
  if (y < 0 || y >= conv.h.in || outside) return kZeros;
  const bool inside = run.begin >= 0 && run.begin + run.real <= row_floats;
  if (inside && run.real == run.length) return in + row + run.begin;
  copy_run(conv, in + row, run, to);
  return to;
}

// The shape of dense images, without their number.
struct Images {
  int64_t height, width, channels;
};

// Returns a pointer to the first channel of a pixel, or to zeros where it lies outside its image.
inline const float* point_at_pixel(const float* images, const Images& shape, int64_t image,
                                   int64_t y, int64_t x) {
  if (y < 0 || y >= shape.height || x < 0 || x >= shape.width) return kZeros;
  return images + ((image * shape.height + y) * shape.width + x) * shape.channels;
}

// Copies `run` of row `corner.y + i` of the image to `to`.
inline void gather_run(const Conv& conv, const float* in, const Corner& corner, int64_t i,
                       const Run& run, float* to) {
  const int64_t y = corner.y + i;
  const int64_t row = (corner.image * conv.h.in + y) * conv.w.in * conv.in_c;
  const float* from = point_at_run(conv, in, row, y, run, to);
  if (from != to) copy(from, run.length, to);
}

// Copies a pixel's window, its rows side by side, to `to`; up to a vector beyond is overwritten. A
// row shorter than a vector is copied as one where another row of the images follows, for it may
// run into that.
inline void gather_window(const Conv& conv, const float* in, const Corner& corner, float* to) {
  const int64_t length = conv.w.kernel * conv.in_c, row_floats = conv.w.in * conv.in_c;
  const int64_t begin = corner.x * conv.in_c, top = corner.image * conv.h.in + corner.y;
  if (!corner.inside) {
    for (int64_t i = 0; i < conv.h.kernel; ++i, to += length)
      gather_run(conv, in, corner, i, {begin, length, length}, to);
    return;
  }
  const bool runs_over = length < kLanes && length + row_floats >= kLanes;
  const int64_t followed = runs_over ? conv.batch * conv.h.in - 1 - top : 0;
  const float* row = in + top * row_floats + begin;
  for (int64_t i = 0; i < conv.h.kernel; ++i, to += length, row += row_floats)
    if (i < followed)
      store(to, load(row));
    else
      copy(row, length, to);
}

}  // namespace
}  // namespace resfuse
