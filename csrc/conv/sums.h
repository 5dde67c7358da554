// Statistics of the outputs, gathered while they are in registers.
//
// For each channel, a block of pixels keeps the sums of the deviations from a shift, its first
// pixel, and of their squares, in doubles. A tile of M pixels adds to them from floats: with the
// deviations d of its pixels from its own first one,
//
//   total   += s = M (first - shift) + sum d
//   squares += s^2 / M + M2             with M2 = sum d^2 - (sum d)^2 / M
//
// (Chan, Golub & LeVeque 1983, eq. 1.5b and 1.6). Floats near each other have an exact difference,
// so nothing here grows with the mean. Both differences of squares, M2 and the block's at the end,
// lose only log2 of the number of pixels in bits, because the subtracted shift is itself one of
// them.

#pragma once

#include "conv/conv.h"
#include "conv/pack.h"
#include "conv/tile_shape.h"

namespace resfuse {
namespace {

// The sums of a vector of channels over the pixels of a block so far.
struct Sums {
  double count;  // of the pixels
  Doubles shift, total, squares;
};

// So many vectors of channels have sums at a time: those of a panel, or of a strip (rows.h), whose
// rows have half of L1. An eighth is for the sums.
constexpr int kMaxSums = 16;
static_assert(kMaxSums >= kVectors, "those of a panel");

// A vector of channels of a tile's pixels, `stride` floats apart.
struct Column {
  const float* at;
  int64_t stride;

  Vec operator[](int64_t pixel) const { return load(at + pixel * stride); }
};

inline void clear_sums(const Panel& panel, Sums* sums) {
  for (int64_t o = 0; o < panel.columns; o += kLanes) sums[o / kLanes].count = 0.0;
}

// Adds a tile whose sums overflow in floats, or which is not finite itself.
__attribute__((noinline)) inline void add_in_doubles(const Column& pixels, int count,
                                                     const Doubles& shift, Doubles& total,
                                                     Doubles& squares) {
  for (int m = 0; m < count; ++m) {
    const Doubles d = __builtin_convertvector(pixels[m], Doubles) - shift;
    total += d;
    squares += d * d;
  }
}

// Adds a tile of `count` pixels.
inline void add_to_sums(const Column& pixels, int count, Sums& sums) {
  Doubles &shift = sums.shift, &total = sums.total, &squares = sums.squares;
  const Doubles first = __builtin_convertvector(pixels[0], Doubles);
  if (sums.count == 0.0) {
    // Deviations from infinity would all be NaN, where the mean is infinite.
    const Vec finite = pixels[0] - pixels[0] == 0.0f ? pixels[0] : Vec{};
    shift = __builtin_convertvector(finite, Doubles);
    total = squares = Doubles{};
  }
  sums.count += count;
  Vec sum = {}, sum_of_squares = {};
  for (int m = 1; m < count; ++m) {
    const Vec d = pixels[m] - pixels[0];
    sum += d;
    sum_of_squares += d * d;
  }
  const Vec m2 = sum_of_squares - sum * sum * (1.0f / static_cast<float>(count));
  if (!all_finite(m2)) return add_in_doubles(pixels, count, shift, total, squares);
  const Doubles s = (first - shift) * count + __builtin_convertvector(sum, Doubles);
  total += s;
  squares += s * s * (1.0 / count) + __builtin_convertvector(m2, Doubles);
}

// Writes the block's Moments (norm/statistics.h), in (blocks, 3, out_c) doubles.
inline void store_sums(const Conv& conv, const Panel& panel, const Sums* sums, double* to,
                       int64_t block) {
  to += block * 3 * conv.out_c + panel.channel;
  for (int64_t o = 0; o < panel.columns; ++o) {
    const Sums& vector = sums[o / kLanes];
    const int64_t lane = o % kLanes;
    const double total = vector.total[lane];
    to[o] = vector.count;
    to[conv.out_c + o] = vector.shift[lane] * vector.count + total;
    to[2 * conv.out_c + o] = vector.squares[lane] - total * total / vector.count;
  }
}

}  // namespace
}  // namespace resfuse
