// What Winograd's algorithms have in common: the transforms, and the tiles that they are applied
// to.

#pragma once

#include "window.h"

namespace resfuse {
namespace {

// One side of each transform, on vectors of channels. The matrices are Lavin & Gray's, sections 4.1
// and 4.3, from the interpolation points 0, 1, -1, 2, -2 and infinity, for F4 and F2 as many as it
// takes.
struct F4 {
  static constexpr int kOutput = 4, kInput = 6;

  static void kernel(const Vec (&g)[3], Vec (&u)[6]) {
    const Vec even = (g[0] + g[2]) * splat(-1.0f / 6), odd = g[1] * splat(-1.0f / 6);
    const Vec even2 = g[0] * splat(1.0f / 24) + g[2] * splat(1.0f / 6),
              odd2 = g[1] * splat(1.0f / 12);
    u[0] = g[0] * splat(0.25f);
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = even2 + odd2;
    u[4] = even2 - odd2;
    u[5] = g[2];
  }

  static void input(const Vec (&d)[6], Vec (&v)[6]) {
    const Vec two = splat(2.0f), four = splat(4.0f), five = splat(5.0f);
    const Vec even = d[4] - four * d[2], odd = d[3] - four * d[1];
    const Vec even2 = d[4] - d[2], odd2 = two * (d[3] - d[1]);
    v[0] = four * d[0] + (d[4] - five * d[2]);
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = four * d[1] + (d[5] - five * d[3]);
  }

  static void output(const Vec (&m)[6], Vec (&y)[4]) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    const Vec even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + even + even2;
    y[1] = odd + splat(2.0f) * odd2;
    y[2] = even + splat(4.0f) * even2;
    y[3] = odd + splat(8.0f) * odd2 + m[5];
  }

  // The transposes of `output` and `kernel`.
  static void gradient(const Vec (&y)[4], Vec (&m)[6]) {
    const Vec even = y[0] + y[2], odd = y[1] + y[3];
    const Vec even2 = y[0] + splat(4.0f) * y[2], odd2 = splat(2.0f) * y[1] + splat(8.0f) * y[3];
    m[0] = y[0];
    m[1] = even + odd;
    m[2] = even - odd;
    m[3] = even2 + odd2;
    m[4] = even2 - odd2;
    m[5] = y[3];
  }

  static void kernel_gradient(const Vec (&u)[6], Vec (&g)[3]) {
    const Vec even = (u[1] + u[2]) * splat(-1.0f / 6), even2 = u[3] + u[4];
    g[0] = u[0] * splat(0.25f) + even + even2 * splat(1.0f / 24);
    g[1] = (u[2] - u[1]) * splat(1.0f / 6) + (u[3] - u[4]) * splat(1.0f / 12);
    g[2] = even + even2 * splat(1.0f / 6) + u[5];
  }
};

struct F2 {
  static constexpr int kOutput = 2, kInput = 4;

  static void kernel(const Vec (&g)[3], Vec (&u)[4]) {
    const Vec even = (g[0] + g[2]) * splat(0.5f), odd = g[1] * splat(0.5f);
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }

  static void input(const Vec (&d)[4], Vec (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }

  static void output(const Vec (&m)[4], Vec (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
  }

  static void gradient(const Vec (&y)[2], Vec (&m)[4]) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = y[1];
  }

  static void kernel_gradient(const Vec (&u)[4], Vec (&g)[3]) {
    const Vec even = (u[1] + u[2]) * splat(0.5f);
    g[0] = u[0] + even;
    g[1] = (u[1] - u[2]) * splat(0.5f);
    g[2] = even + u[3];
  }
};

// Both sides: columns first, then rows. `in(i, j)` reads, `out(i, j, value)` writes.
template <int In, int Out, typename Transform, typename Read, typename Write>
inline void transform_square(Transform transform, Read in, Write out) {
  Vec half[Out][In];
#pragma GCC unroll 6
  for (int j = 0; j < In; ++j) {
    Vec column[In], result[Out];
#pragma GCC unroll 6
    for (int i = 0; i < In; ++i) column[i] = in(i, j);
    transform(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < Out; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Out; ++i) {
    Vec result[Out];
    transform(half[i], result);
#pragma GCC unroll 6
    for (int j = 0; j < Out; ++j) out(i, j, result[j]);
  }
}

// The first output pixel of a tile, which reads inputs from (y - pad_top, x - pad_left) on.
struct TilePosition {
  int64_t image, y, x;
};

// `tiles_h` x `tiles_w` tiles of each image, `output` a side.
inline TilePosition locate_tile(int64_t tile, int64_t tiles_h, int64_t tiles_w, int64_t output) {
  const int64_t row = tile / tiles_w;
  return {row / tiles_h, row % tiles_h * output, tile % tiles_w * output};
}

// Pixels of a tile: the first channel of each, or zeros where it lies outside the image.
template <int Size>
inline void point_at_pixels(const float* images, int64_t height, int64_t width, int64_t channels,
                            const TilePosition& at, const float* (&to)[Size][Size]) {
  for (int64_t i = 0; i < Size; ++i)
    for (int64_t j = 0; j < Size; ++j) {
      const int64_t y = at.y + i, x = at.x + j;
      const bool inside = y >= 0 && y < height && x >= 0 && x < width;
      to[i][j] = inside ? images + ((at.image * height + y) * width + x) * channels : kZeros;
    }
}

template <typename F>
inline void point_at_inputs(const Conv& conv, const float* in, const TilePosition& at,
                            const float* (&to)[F::kInput][F::kInput]) {
  const TilePosition first{at.image, at.y - conv.pad_top, at.x - conv.pad_left};
  point_at_pixels(in, conv.in_h, conv.in_w, conv.in_c, first, to);
}

// V = B^T d B of `channels` channels from `first` on; the points are `stride` floats apart.
template <typename F>
inline void transform_inputs(const float* const (&in)[F::kInput][F::kInput], int64_t first,
                             int64_t channels, int64_t stride, float* to) {
  for (int64_t c = 0; c < channels; c += kLanes)
    transform_square<F::kInput, F::kInput>(
        F::input, [&](int i, int j) { return load(in[i][j] + first + c); },
        [&](int i, int j, Vec v) { store(to + (i * F::kInput + j) * stride + c, v); });
}

}  // namespace
}  // namespace resfuse
