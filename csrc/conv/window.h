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
  int64_t image, z, y, x;
  bool inside;
};

// The corner of the first pixel of a row of outputs.
inline Corner corner_of_row(const Conv& conv, int64_t row) {
  const Side &d = conv.d, &h = conv.h;
  const int64_t plane = row / h.out;
  const int64_t z = plane % d.out * d.stride - d.pad, y = row % h.out * h.stride - h.pad;
  return {plane / d.out, z, y, -conv.w.pad,
          z >= 0 && z + d.extent() <= d.in && y >= 0 && y + h.extent() <= h.in};
}

// Locates the windows of `count` pixels from `pixel` on.
inline void locate(const Conv& conv, int64_t pixel, int64_t count, Corner* corners) {
  const Side& w = conv.w;
  int64_t row = pixel / w.out, x = pixel % w.out;
  Corner at = corner_of_row(conv, row);
  const int64_t last = w.in - w.extent();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t left = x * w.stride - w.pad;
    corners[i] = {at.image, at.z, at.y, left, at.inside && left >= 0 && left <= last};
    if (++x < w.out) continue;
    x = 0;
    at = corner_of_row(conv, ++row);
  }
}

// Calls `function(pixel, count)` for what each row of outputs has of the pixels [begin, end).
template <typename Function>
inline void for_each_row(const Conv& conv, int64_t begin, int64_t end, Function function) {
  for (int64_t pixel = begin, count; pixel < end; pixel += count) {
    count = smaller(conv.w.out - pixel % conv.w.out, end - pixel);
    function(pixel, count);
  }
}

// The first pixel of a window that lies in the image, as pixels of all images are numbered.
inline int64_t pixel_at(const Conv& conv, const Corner& corner) {
  return ((corner.image * conv.d.in + corner.z) * conv.h.in + corner.y) * conv.w.in + corner.x;
}

// Where a pixel's outputs go.
inline int64_t place_of_output(const Conv& conv, const Scatter& to, int64_t pixel) {
  const int64_t row = pixel / conv.w.out, plane = row / conv.h.out;
  return to.first + pixel % conv.w.out * to.pixel + row % conv.h.out * to.row +
         plane % conv.d.out * to.plane + plane / conv.d.out * to.image;
}

// A row of the images, of those that a window's rows meet: where it begins, in floats, and whether
// there is one.
struct Row {
  int64_t at;
  bool inside;
};

inline Row row_at(const Conv& conv, int64_t image, int64_t z, int64_t y) {
  return {((image * conv.d.in + z) * conv.h.in + y) * conv.w.in * conv.in_c,
          z >= 0 && z < conv.d.in && y >= 0 && y < conv.h.in};
}

// The row that row (k, i) of a window meets.
inline Row row_of_window(const Conv& conv, const Corner& corner, int64_t k, int64_t i) {
  return row_at(conv, corner.image, corner.z + k * conv.d.window_dilation,
                corner.y + i * conv.h.window_dilation);
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
  copy(row + run.begin + left, right - left, to + left);
  for (int64_t k = right; k < run.length; ++k) to[k] = 0.0f;
}

// Returns a pointer into the row itself; to zeros; or, where the run crosses the left or right edge
// or has fewer real floats, to a padded copy, which it makes in `to`.
inline const float* point_at_run(const Conv& conv, const float* in, const Row& row, const Run& run,
                                 float* to) {
  const int64_t row_floats = conv.w.in * conv.in_c;
  const bool outside = run.begin + run.real <= 0 || run.begin >= row_floats;
  if (!row.inside || outside) return kZeros;
  const bool inside = run.begin >= 0 && run.begin + run.real <= row_floats;
  if (inside && run.real == run.length) return in + row.at + run.begin;
  copy_run(conv, in + row.at, run, to);
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

// Copies `run` of a row to `to`.
inline void gather_run(const Conv& conv, const float* in, const Row& row, const Run& run,
                       float* to) {
  const float* from = point_at_run(conv, in, row, run, to);
  if (from != to) copy(from, run.length, to);
}

// Copies pixels' windows with all of their channels, runs side by side.
class WindowCopy {
 public:
  WindowCopy(const Conv& conv, const float* in)
      : conv_(conv),
        in_(in),
        end_(in + conv.in_floats()),
        runs_(conv.row_runs()),
        length_(conv.w.kernel / runs_ * conv.in_c),
        step_(conv.w.window_dilation * conv.in_c),
        row_step_(conv.h.window_dilation * conv.w.in * conv.in_c),
        plane_step_(conv.d.window_dilation * conv.h.in * conv.w.in * conv.in_c) {}

  // Up to a vector beyond the copy is overwritten. A run shorter than a vector is copied as one
  // unless the images end there.
  void copy_to(float* to, const Corner& corner) const {
    if (!corner.inside) return copy_some(to, corner);
    const float* plane = in_ + pixel_at(conv_, corner) * conv_.in_c;
    for (int64_t k = 0; k < conv_.d.kernel; ++k, plane += plane_step_) {
      const float* row = plane;
      for (int64_t i = 0; i < conv_.h.kernel; ++i, row += row_step_)
        for (int64_t j = 0; j < runs_; ++j, to += length_)
          if (const float* run = row + j * step_; length_ < kLanes && end_ - run >= kLanes)
            store(to, load(run));
          else
            copy(run, length_, to);
    }
  }

 private:
  // Copies the window of one that hangs over an edge.
  void copy_some(float* to, const Corner& corner) const {
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t i = 0; i < conv_.h.kernel; ++i) {
        const Row row = row_of_window(conv_, corner, k, i);
        for (int64_t j = 0; j < runs_; ++j, to += length_) {
          const int64_t begin = corner.x * conv_.in_c + j * step_;
          gather_run(conv_, in_, row, {begin, length_, length_}, to);
        }
      }
  }

  const Conv& conv_;
  const float *const in_, *const end_;
  const int64_t runs_, length_, step_, row_step_, plane_step_;  // the steps from tap to tap
};

}  // namespace
}  // namespace resfuse
