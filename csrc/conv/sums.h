// Statistics of the outputs, gathered while they are in registers.
//
// For each channel a block of pixels keeps three sums over its tiles, in doubles: the total s of a
// tile's M pixels, s^2 / M, and M2, the squared deviations from the tile's own mean. s^2 / M may
// cancel against the grand total: a mean a thousand times the deviation costs six of sixteen digits
// (Chan, Golub & LeVeque 1983, eq. 1.5b, for many samples).

#pragma once

#include "base/simd.h"
#include "conv/conv.h"
#include "conv/pack.h"

namespace resfuse {
namespace {

constexpr int kVectors = 2;
constexpr int kNR = kVectors * kLanes;

// Of a panel: a row for each of the three sums.
typedef double Sums[3][kNR];
// As many doubles as a vector has floats.
typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));

inline void clear_sums(Sums& sums) {
  for (double (&row)[kNR] : sums)
    for (double& sum : row) sum = 0.0;
}

// Adds a tile: a vector of channels, from `channel` of the panel on, of `count` pixels. Summed are
// their deviations d from the first, which are exact where deviations are small beside the mean:
// the total is M first + sum d, and M2 = sum d^2 - (sum d)^2 / M (their eq. 1.6), which loses four
// bits at most, since the first is one of the M.
inline void add_to_sums(const Vec* pixels, int count, Sums& sums, int64_t channel) {
  const Vec first = pixels[0];
  Vec sum = {}, squares = {};
  for (int m = 1; m < count; ++m) {
    const Vec d = pixels[m] - first;
    sum += d;
    squares += d * d;
  }
  const float inverse = 1.0f / static_cast<float>(count);
  const Doubles total =
      __builtin_convertvector(first, Doubles) * count + __builtin_convertvector(sum, Doubles);
  const Doubles m2 = __builtin_convertvector(squares - sum * sum * inverse, Doubles);
  for (int lane = 0; lane < kLanes; ++lane) {
    sums[0][channel + lane] += total[lane];
    sums[1][channel + lane] += total[lane] * total[lane] * (1.0 / count);
    sums[2][channel + lane] += m2[lane];
  }
}

// As the block's, in (blocks, 3, out_c) doubles.
inline void store_sums(const Conv& conv, const Panel& panel, const Sums& sums, double* to,
                       int64_t block) {
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t o = 0; o < panel.columns; ++o)
      to[(block * 3 + row) * conv.out_c + panel.channel + o] = sums[row][o];
}

}  // namespace
}  // namespace resfuse
