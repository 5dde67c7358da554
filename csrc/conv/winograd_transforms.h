// Winograd's transforms for windows of 3 with stride 1, one side at a time: 5, 4, 3 or 2 outputs
// from 7, 6, 5 or 4 products; on both sides 5x5, 4x4, 3x3 or 2x2 from 49, 36, 25 or 16.

#pragma once

#include "base/simd.h"

namespace resfuse {
namespace {

// F(1, 1), for a side on which the window is a single tap: nothing to transform.
struct F1 {
  static constexpr int kOutput = 1, kInput = 1;

  static void same(const Vec (&from)[1], Vec (&to)[1]) { to[0] = from[0]; }
  static constexpr auto kernel = same, input = same, output = same;
  static constexpr auto gradient = same, kernel_gradient = same;
};

// One side of each transform, on vectors of channels, from the interpolation points 0, 1, -1, 2, -2
// and infinity: F4 takes all six, F3 leaves out -2, and F2 has no 2 either. F5 has 1/2 as well. The
// matrices of F4 and F2 are Lavin & Gray's, sections 4.3 and 4.1.
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

// The points' polynomials are those of F4 times (x - 1/2), and that of 1/2 itself. It has no
// gradients.
struct F5 {
  static constexpr int kOutput = 5, kInput = 7;

  static void kernel(const Vec (&g)[3], Vec (&u)[7]) {
    const Vec even = g[0] + g[2], even2 = g[0] + splat(4.0f) * g[2], odd2 = splat(2.0f) * g[1];
    u[0] = g[0] * splat(-0.5f);
    u[1] = (even + g[1]) * splat(-1.0f / 3);
    u[2] = (even - g[1]) * splat(1.0f / 9);
    u[3] = (even2 + odd2) * splat(1.0f / 36);
    u[4] = (even2 - odd2) * splat(-1.0f / 60);
    u[5] = g[2];
    u[6] = (splat(4.0f) * g[0] + odd2 + g[2]) * splat(8.0f / 45);
  }

  static void input(const Vec (&d)[7], Vec (&v)[7]) {
    Vec times[6], result[6];
#pragma GCC unroll 9
    for (int i = 0; i < 6; ++i) times[i] = d[i + 1] - splat(0.5f) * d[i];
    F4::input(times, result);
#pragma GCC unroll 9
    for (int i = 0; i < 6; ++i) v[i] = result[i];
    v[6] = splat(4.0f) * d[1] + (d[5] - splat(5.0f) * d[3]);
  }

  static void output(const Vec (&m)[7], Vec (&y)[5]) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    const Vec even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + even + even2 + m[6];
    y[1] = odd + splat(2.0f) * odd2 + splat(0.5f) * m[6];
    y[2] = even + splat(4.0f) * even2 + splat(0.25f) * m[6];
    y[3] = odd + splat(8.0f) * odd2 + splat(0.125f) * m[6];
    y[4] = even + splat(16.0f) * even2 + splat(0.0625f) * m[6] + m[5];
  }
};

struct F3 {
  static constexpr int kOutput = 3, kInput = 5;

  static void kernel(const Vec (&g)[3], Vec (&u)[5]) {
    const Vec even = g[0] + g[2];
    u[0] = g[0] * splat(0.5f);
    u[1] = (even + g[1]) * splat(-0.5f);
    u[2] = (g[1] - even) * splat(1.0f / 6);
    u[3] = g[0] * splat(1.0f / 6) + g[1] * splat(1.0f / 3) + g[2] * splat(2.0f / 3);
    u[4] = g[2];
  }

  static void input(const Vec (&d)[5], Vec (&v)[5]) {
    const Vec two = splat(2.0f), odd = d[3] - d[1];
    v[0] = two * (d[0] - d[2]) + odd;
    v[1] = d[3] - d[2] - two * d[1];
    v[2] = d[3] - splat(3.0f) * d[2] + two * d[1];
    v[3] = odd;
    v[4] = d[4] - d[2] - two * odd;
  }

  static void output(const Vec (&m)[5], Vec (&y)[3]) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    y[0] = m[0] + even + m[3];
    y[1] = odd + splat(2.0f) * m[3];
    y[2] = even + splat(4.0f) * m[3] + m[4];
  }

  static void gradient(const Vec (&y)[3], Vec (&m)[5]) {
    const Vec even = y[0] + y[2];
    m[0] = y[0];
    m[1] = even + y[1];
    m[2] = even - y[1];
    m[3] = y[0] + splat(2.0f) * y[1] + splat(4.0f) * y[2];
    m[4] = y[2];
  }

  static void kernel_gradient(const Vec (&u)[5], Vec (&g)[3]) {
    const Vec half = u[1] * splat(-0.5f), sixth = u[2] * splat(1.0f / 6);
    g[0] = (u[0] * splat(0.5f) + half) + (u[3] * splat(1.0f / 6) - sixth);
    g[1] = half + sixth + u[3] * splat(1.0f / 3);
    g[2] = half - sixth + u[3] * splat(2.0f / 3) + u[4];
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

template <int In, int Out>
constexpr int inputs_of(void (*)(const Vec (&)[In], Vec (&)[Out])) {
  return In;
}
template <int In, int Out>
constexpr int outputs_of(void (*)(const Vec (&)[In], Vec (&)[Out])) {
  return Out;
}

// Transforms both sides: columns first, then rows. `in(i, j)` reads, `out(i, j, value)` writes. It
// is always inlined, so that its callers' loops step their pointers: 5 to 14 percent of
// convolutions of few tiles.
template <auto along_h, auto along_w, typename Read, typename Write>
__attribute__((always_inline)) inline void transform_both(Read in, Write out) {
  constexpr int kInH = inputs_of(along_h), kOutH = outputs_of(along_h);
  constexpr int kInW = inputs_of(along_w), kOutW = outputs_of(along_w);
  Vec half[kOutH][kInW];
#pragma GCC unroll 9
  for (int j = 0; j < kInW; ++j) {
    Vec column[kInH], result[kOutH];
#pragma GCC unroll 9
    for (int i = 0; i < kInH; ++i) column[i] = in(i, j);
    along_h(column, result);
#pragma GCC unroll 9
    for (int i = 0; i < kOutH; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 9
  for (int i = 0; i < kOutH; ++i) {
    Vec result[kOutW];
    along_w(half[i], result);
#pragma GCC unroll 9
    for (int j = 0; j < kOutW; ++j) out(i, j, result[j]);
  }
}

}  // namespace
}  // namespace resfuse
