// Winograd's transforms for windows of 3 with stride 2. On one side, the outputs
//
//   y[i] = g[0] d[2i] + g[2] d[2i + 2]  +  g[1] d[2i + 1]
//
// are a window of two on the even inputs, for which there are minimal algorithms, F(4, 2) and
// F(2, 2), and a product with each odd input, which is there as it is: 5 + 4 points for 4 outputs,
// 3 + 2 for 2. On both sides 81 products make 16 outputs where direct convolution takes 144, 25
// make 4 for 36. The odd inputs all meet g[1], so a kernel has one point more than even inputs
// have.

#pragma once

#include "conv/winograd_transforms.h"

namespace resfuse {
namespace {

// F(4, 2), from the interpolation points 0, 1, -1, 2 and infinity.
struct Even4 {
  static constexpr int kOutput = 4;

  static void kernel(Vec first, Vec last, Vec* u) {
    u[0] = first * splat(0.5f);
    u[1] = (first + last) * splat(-0.5f);
    u[2] = (last - first) * splat(1.0f / 6);
    u[3] = first * splat(1.0f / 6) + last * splat(1.0f / 3);
    u[4] = last;
  }

  static void output(const Vec* m, Vec* y) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    y[0] = m[0] + even + m[3];
    y[1] = odd + splat(2.0f) * m[3];
    y[2] = even + splat(4.0f) * m[3];
    y[3] = odd + splat(8.0f) * m[3] + m[4];
  }

  static void input(const Vec (&d)[5], Vec (&v)[5]) { F3::input(d, v); }
};

// F(2, 2), from 0, 1 and infinity.
struct Even2 {
  static constexpr int kOutput = 2;

  static void kernel(Vec first, Vec last, Vec* u) {
    u[0] = first;
    u[1] = first + last;
    u[2] = last;
  }

  static void input(const Vec (&d)[3], Vec (&v)[3]) {
    v[0] = d[0] - d[1];
    v[1] = d[1];
    v[2] = d[2] - d[1];
  }

  static void output(const Vec* m, Vec* y) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  }
};

template <typename Even>
struct Strided {
  static constexpr int kOutput = Even::kOutput, kInput = 2 * kOutput + 1;
  static constexpr int kEven = kOutput + 1;

  static void kernel(const Vec (&g)[3], Vec (&u)[kEven + 1]) {
    Even::kernel(g[0], g[2], u);
    u[kEven] = g[1];
  }

  static void input(const Vec (&d)[kInput], Vec (&v)[kInput]) {
    Vec even[kEven], result[kEven];
#pragma GCC unroll 9
    for (int i = 0; i < kEven; ++i) even[i] = d[2 * i];
    Even::input(even, result);
#pragma GCC unroll 9
    for (int i = 0; i < kEven; ++i) v[i] = result[i];
#pragma GCC unroll 9
    for (int i = 0; i < kOutput; ++i) v[kEven + i] = d[2 * i + 1];
  }

  static void output(const Vec (&m)[kInput], Vec (&y)[kOutput]) {
    Even::output(m, y);
#pragma GCC unroll 9
    for (int i = 0; i < kOutput; ++i) y[i] += m[kEven + i];
  }
};

}  // namespace
}  // namespace resfuse
