// The tiles that Winograd's transforms are applied to: where they lie, and what they read.

#pragma once

#include "conv/window.h"
#include "conv/winograd_plan.h"
#include "conv/winograd_transforms.h"

namespace resfuse {
namespace {

// The first output pixel of a tile, which reads inputs from (y, x) * stride - pad on.
struct TilePosition {
  int64_t image, y, x;
};

inline TilePosition locate_tile(int64_t tile, const Tiling& tiling) {
  const int64_t row = tile / tiling.w;
  return {row / tiling.h, row % tiling.h * tiling.output, tile % tiling.w * tiling.output};
}

// Points at the first channel of each pixel of a tile, or at zeros where it lies outside the image.
template <int Size>
inline void point_at_pixels(const float* images, const Images& shape, const TilePosition& at,
                            const float* (&to)[Size][Size]) {
  for (int64_t i = 0; i < Size; ++i)
    for (int64_t j = 0; j < Size; ++j)
      to[i][j] = point_at_pixel(images, shape, at.image, at.y + i, at.x + j);
}

template <typename F>
inline void point_at_inputs(const Conv& conv, const float* in, const TilePosition& at,
                            const float* (&to)[F::kInput][F::kInput]) {
  const TilePosition first{at.image, at.y * F::kStride - conv.h.pad,
                           at.x * F::kStride - conv.w.pad};
  point_at_pixels(in, {conv.h.in, conv.w.in, conv.in_c}, first, to);
}

// Computes V = B^T d B of `channels` channels from `first` on; the points are `stride` floats
// apart.
template <typename F>
inline void transform_inputs(const float* const (&in)[F::kInput][F::kInput], int64_t first,
                             int64_t channels, int64_t stride, float* to) {
  for (int64_t c = 0; c < channels; c += kLanes)
    transform_square<F::input, F::kInput, F::kInput>(
        [&](int i, int j) { return load(in[i][j] + first + c); },
        [&](int i, int j, Vec v) { store(to + (i * F::kInput + j) * stride + c, v); });
}

}  // namespace
}  // namespace resfuse
