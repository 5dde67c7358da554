// Statistics of the outputs, gathered as their tiles are finished.
//
// For each channel, a group of pixels, of tiles that follow each other, keeps the sums of the
// deviations d from its first pixel, and of their squares, in floats. A block of pixels keeps the
// sums of the deviations from a shift, the first pixel of its first group, and of their squares, in
// doubles. To these a group of M pixels adds
//
//   total   += s = M (first - shift) + sum d
//   squares += s^2 / M + M2             with M2 = sum d^2 - (sum d)^2 / M
//
// (Chan, Golub & LeVeque 1983, eq. 1.5b and 1.6). Floats near each other have an exact difference,
// so nothing here grows with the mean. Both differences of squares, M2 and the block's at the end,
// lose only log2 of the number of pixels in bits, because the subtracted shift is itself one of
// them. Groups of one tile each took as long, for their doubles, as the products of a 3x3 depthwise
// convolution; a group's sums are those of its tiles, so that no error grows with each pixel.

#pragma once

#include "conv/conv.h"
#include "conv/pack.h"
#include "conv/tile_shape.h"

namespace resfuse {
namespace {

// The sums of a vector of channels over the pixels of a block so far.
struct Sums {
  int group;  // its pixels so far
  Vec first, deviations, squared;
  double count;  // of the pixels before it
  Doubles shift, total, squares;
};

// A group ends with the tile that makes it so large. Twice as many would save a fiftieth of
// depthwise layers' time, and the more there are, the more bits a first pixel costs that lies far
// off.
constexpr int kGroup = 32;

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
  for (int64_t o = 0; o < panel.columns; o += kLanes) {
    sums[o / kLanes].group = 0;
    sums[o / kLanes].count = 0.0;
  }
}

// Begins the doubles with a shift.
inline void begin_block(const Vec& pixel, Sums& sums) {
  // Deviations from infinity would all be NaN, where the mean is infinite.
  const Vec finite = pixel - pixel == 0.0f ? pixel : Vec{};
  sums.shift = __builtin_convertvector(finite, Doubles);
  sums.total = sums.squares = Doubles{};
}

// Adds the group to the doubles.
__attribute__((noinline)) inline void end_group(Sums& sums) {
  if (sums.group == 0) return;
  if (sums.count == 0.0) begin_block(sums.first, sums);
  const double count = sums.group;
  const Doubles deviations = __builtin_convertvector(sums.deviations, Doubles);
  const Doubles s =
      (__builtin_convertvector(sums.first, Doubles) - sums.shift) * count + deviations;
  const Doubles squared = __builtin_convertvector(sums.squared, Doubles);
  sums.total += s;
  sums.squares += s * s * (1.0 / count) + (squared - deviations * deviations * (1.0 / count));
  sums.count += count;
  sums.group = 0;
}

// Adds a tile whose sums overflow in floats, or which is not finite itself.
__attribute__((noinline)) inline void add_in_doubles(const Column& pixels, int count, Sums& sums) {
  end_group(sums);
  if (sums.count == 0.0) begin_block(pixels[0], sums);
  for (int m = 0; m < count; ++m) {
    const Doubles d = __builtin_convertvector(pixels[m], Doubles) - sums.shift;
    sums.total += d;
    sums.squares += d * d;
  }
  sums.count += count;
}

// Adds a tile of `count` pixels, of which `at(m)` is the m-th; `in_memory()` are all of them. Calls
// nothing while they are needed: no call would leave them in registers.
template <typename At, typename InMemory>
__attribute__((always_inline)) inline void add_to_sums(int count, At at, InMemory in_memory,
                                                       Sums& sums) {
  const bool begins = sums.group == 0;
  const Vec first = begins ? at(0) : sums.first;
  Vec deviations = {}, squared = {};
#pragma GCC unroll 16
  for (int m = 0; m < count; ++m) {
    const Vec d = at(m) - first;
    deviations += d;
    squared += d * d;
  }
  if (!begins) deviations += sums.deviations, squared += sums.squared;
  if (!all_finite(squared)) return add_in_doubles(in_memory(), count, sums);
  sums.first = first;
  sums.deviations = deviations;
  sums.squared = squared;
  sums.group += count;
  if (sums.group >= kGroup) end_group(sums);
}

// The same for pixels in memory.
inline void add_to_sums(const Column& pixels, int count, Sums& sums) {
  add_to_sums(count, [&](int m) { return pixels[m]; }, [&] { return pixels; }, sums);
}

// Writes the block's Moments (norm/statistics.h), in (blocks, 3, out_c) doubles.
inline void store_sums(const Conv& conv, const Panel& panel, Sums* sums, double* to,
                       int64_t block) {
  to += block * 3 * conv.out_c + panel.channel;
  for (int64_t o = 0; o < panel.columns; o += kLanes) end_group(sums[o / kLanes]);
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
