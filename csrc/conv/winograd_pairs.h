// Winograd's transforms for windows of two, F(n, 2), one side at a time: 4 or 2 outputs from 5 or 3
// products; on both sides 4x4 from 25 where direct convolution takes 64. Transposed convolutions
// have them, whose windows of 4 with a stride of 2 are phases of two; and windows of 3 with a
// stride of 2, on every other input (winograd_strided.h).

#pragma once

#include "conv/winograd_transforms.h"

namespace resfuse {
namespace {

// From the interpolation points 0, 1, -1, 2 and infinity, those of F(3, 3), so inputs are
// transformed as there.
struct Pair4 {
  static constexpr int kOutput = 4, kInput = 5;
  static constexpr auto input = F3::input;

  static void kernel(const Vec (&g)[2], Vec (&u)[5]) {
    u[0] = g[0] * splat(0.5f);
    u[1] = (g[0] + g[1]) * splat(-0.5f);
    u[2] = (g[1] - g[0]) * splat(1.0f / 6);
    u[3] = g[0] * splat(1.0f / 6) + g[1] * splat(1.0f / 3);
    u[4] = g[1];
  }

  static void output(const Vec (&m)[5], Vec (&y)[4]) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    y[0] = m[0] + even + m[3];
    y[1] = odd + splat(2.0f) * m[3];
    y[2] = even + splat(4.0f) * m[3];
    y[3] = odd + splat(8.0f) * m[3] + m[4];
  }

  // The transposes of `output` and `kernel`.
  static void gradient(const Vec (&y)[4], Vec (&m)[5]) {
    const Vec even = y[0] + y[2], odd = y[1] + y[3];
    m[0] = y[0];
    m[1] = even + odd;
    m[2] = even - odd;
    m[3] = (y[0] + splat(4.0f) * y[2]) + (splat(2.0f) * y[1] + splat(8.0f) * y[3]);
    m[4] = y[3];
  }

  static void kernel_gradient(const Vec (&u)[5], Vec (&g)[2]) {
    const Vec half = u[1] * splat(-0.5f), sixth = u[2] * splat(1.0f / 6);
    g[0] = (u[0] * splat(0.5f) + half) + (u[3] * splat(1.0f / 6) - sixth);
    g[1] = half + sixth + u[3] * splat(1.0f / 3) + u[4];
  }
};

// From 0, 1 and infinity.
struct Pair2 {
  static constexpr int kOutput = 2, kInput = 3;

  static void kernel(const Vec (&g)[2], Vec (&u)[3]) {
    u[0] = g[0];
    u[1] = g[0] + g[1];
    u[2] = g[1];
  }

  static void input(const Vec (&d)[3], Vec (&v)[3]) {
    v[0] = d[0] - d[1];
    v[1] = d[1];
    v[2] = d[2] - d[1];
  }

  static void output(const Vec (&m)[3], Vec (&y)[2]) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  }

  static void gradient(const Vec (&y)[2], Vec (&m)[3]) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[1];
  }

  static void kernel_gradient(const Vec (&u)[3], Vec (&g)[2]) {
    g[0] = u[0] + u[1];
    g[1] = u[1] + u[2];
  }
};

}  // namespace
}  // namespace resfuse
