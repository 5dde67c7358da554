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

#include "conv/winograd_pairs.h"

namespace resfuse {
namespace {

// Even is the transform of the window of two.
template <typename Even>
struct Strided {
  static constexpr int kOutput = Even::kOutput, kInput = 2 * kOutput + 1;
  static constexpr int kEven = Even::kInput;

  static void kernel(const Vec (&g)[3], Vec (&u)[kEven + 1]) {
    const Vec pair[2] = {g[0], g[2]};
    Vec result[kEven];
    Even::kernel(pair, result);
#pragma GCC unroll 9
    for (int i = 0; i < kEven; ++i) u[i] = result[i];
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
    Vec even[kEven];
#pragma GCC unroll 9
    for (int i = 0; i < kEven; ++i) even[i] = m[i];
    Even::output(even, y);
#pragma GCC unroll 9
    for (int i = 0; i < kOutput; ++i) y[i] += m[kEven + i];
  }
};

}  // namespace
}  // namespace resfuse
