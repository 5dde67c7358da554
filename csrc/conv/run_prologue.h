// A prologue on its way into a block's windows: so each pixel is transformed once a block, and
// every panel reads it from L2. A part's channels lie wherever the parts before it end.

#pragma once

#include "base/lanes.h"
#include "conv/window.h"

namespace resfuse {
namespace {

// Of `count` channels, at most a vector, from the `at`-th on.
template <Before before>
inline Vec transform(Vec in, const float* scale, const float* shift, int64_t at, int64_t count) {
  if constexpr (before >= Before::kScale) in *= load_some(scale + at, count);
  if constexpr (before >= Before::kAffine) in += load_some(shift + at, count);
  return before >= Before::kAffineRelu ? bounded({0.0f, kUnbounded}, in) : in;
}

// Writes all channels of a pixel; up to a vector beyond is overwritten.
template <Before before>
inline void transform_pixel(const Prologue& prologue, int64_t pixel, const float* scale,
                            float* to) {
  const float* shift = prologue.shift;
  for (int i = 0; i < prologue.parts; ++i) {
    const auto [data, channels] = prologue.part[i];
    const float* const from = data + pixel * channels;
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes)
      store(to + c, transform<before>(load(from + c), scale, shift, c, kLanes));
    if (const int64_t rest = channels - c; rest > 0)
      store(to + c, transform<before>(load_some(from + c, rest), scale, shift, c, rest));
    to += channels;
    if (before >= Before::kScale) scale += channels;
    if (before >= Before::kAffine) shift += channels;
  }
}

template <Before before>
inline void transform_pixels(const Prologue& prologue, const Conv& conv, const Corner* corners,
                             int64_t count, int64_t pixel_floats, float* to) {
  for (int64_t p = 0; p < count; ++p, to += pixel_floats) {
    const float* const scale = prologue.scale + corners[p].image * prologue.image_scale;
    transform_pixel<before>(prologue, pixel_at(conv, corners[p]), scale, to);
  }
}

// Writes the channels of `count` pixels, `pixel_floats` apart.
inline void run_prologue(const Prologue& prologue, const Conv& conv, const Corner* corners,
                         int64_t count, int64_t pixel_floats, float* to) {
  const auto run = [&](auto transform) {
    transform(prologue, conv, corners, count, pixel_floats, to);
  };
  switch (prologue.before) {
    case Before::kCopy:
      return run(transform_pixels<Before::kCopy>);
    case Before::kScale:
      return run(transform_pixels<Before::kScale>);
    case Before::kAffine:
      return run(transform_pixels<Before::kAffine>);
    case Before::kAffineRelu:
      return run(transform_pixels<Before::kAffineRelu>);
  }
}

}  // namespace
}  // namespace resfuse
