// Statistics of the outputs, gathered while they are in registers.
//
// For each channel a block of pixels keeps three sums over its tiles, in doubles: the total s of a
// tile's M pixels, s^2 / M, and M2, the squared deviations from the tile's own mean. s^2 / M may
// cancel against the grand total: a mean a thousand times the deviation costs six of sixteen digits
// (Chan, Golub & LeVeque 1983, eq. 1.5b, for many samples).

#pragma once

#include "conv.h"
#include "pack.h"
#include "simd.h"

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

// Adds a tile: a vector of channels, from `channel` of the panel on, of `count` pixels.
inline void add_to_sums(const Vec* pixels, int count, Sums& sums, int64_t channel) {
  Doubles sum = {};
  for (int m = 0; m < count; ++m) sum += __builtin_convertvector(pixels[m], Doubles);
  // Off by a rounding d, the mean adds only d^2 to the squares.
  const Vec mean = __builtin_convertvector(sum / count, Vec);
  Vec squares = {};
  for (int m = 0; m < count; ++m) squares += (pixels[m] - mean) * (pixels[m] - mean);
  const Doubles sums_of_squares = __builtin_convertvector(squares, Doubles);
  const double inverse = 1.0 / count;
  for (int lane = 0; lane < kLanes; ++lane) {
    sums[0][channel + lane] += sum[lane];
    sums[1][channel + lane] += sum[lane] * sum[lane] * inverse;
    sums[2][channel + lane] += sums_of_squares[lane];
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
