// The register tile for narrow groups: G input and G output channels each, G a divisor of the lanes
// (depthwise: G = 1). A vector holds whole groups, so the inputs that its outputs need are in the
// vector of the same channels. A run is a tap.
//
// To bring each input to its outputs' lanes would cost a shuffle for each product. Instead, inputs
// stay where they are, and the weights are packed rotated (rotate_groups in pack.cc):
//
//   rotation[r][m][lane] += in[m][lane] * panel[r][lane]              for r < G
//
// which belongs to the output r lanes further within the group, to which it is shuffled once, at
// the end.

#pragma once

#include "conv/tile.h"

namespace resfuse {
namespace {

template <int G>
struct Grouped {
  static constexpr bool kIsFollowed = false;
  // As many rows go at a time as keep a vector's rotations in registers beside its weights and an
  // input; nearly as many each time.
  static constexpr int kMost = (kRegisters - 2 - G) / G;
  static constexpr int kTimes = (kMR + kMost - 1) / kMost;
  static constexpr int kRows = kMR / kTimes;

  template <int M, int N>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    constexpr int kRest = M % kRows;
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      for (int m = 0; m + kRows <= M; m += kRows) sum_rotations<M, kRows>(tile, m, n, acc + m);
      if constexpr (kRest > 0) sum_rotations<M, kRest>(tile, M - kRest, n, acc + M - kRest);
    }
  }

  // Sums vector n of `Rows` of the M rows, from `first` on.
  template <int M, int Rows, int N>
  static void sum_rotations(const Tile& tile, int first, int n, Vec (*acc)[N]) {
    Vec rotation[Rows][G] = {};
    const float* panel = tile.panel + n * kLanes;
    for (int64_t run = 0; run < tile.runs; ++run, panel += G * kNR) {
      const float* const* rows = tile.rows + run * M + first;
      Vec w[G];
#pragma GCC unroll 16
      for (int r = 0; r < G; ++r) w[r] = load(panel + r * kNR);
#pragma GCC unroll 16
      for (int row = 0; row < Rows; ++row) {
        const Vec in = load(rows[row] + tile.offset + n * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < G; ++r) rotation[row][r] += in * w[r];
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      Vec sum = rotation[row][0];
#pragma GCC unroll 16
      for (int r = 1; r < G; ++r) sum += rotate(rotation[row][r], r);
      acc[row][n] = sum;
    }
  }

  // Moves each lane's value to the lane `r` further in its group.
  static Vec rotate(Vec value, int r) {
    Lanes from;
    for (int lane = 0; lane < kLanes; ++lane) from[lane] = lane / G * G + (lane - r + G) % G;
    return shuffle(value, from);
  }
};

// Where groups are as wide as a vector, an input is the same for all lanes.
template <>
struct Grouped<kLanes> {
  static constexpr bool kIsFollowed = false;

  template <int M, int N>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    const float* panel = tile.panel;
    for (int64_t run = 0; run < tile.runs; ++run) {
      const float* in[M];
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) in[m] = tile.rows[run * M + m] + tile.offset;
      for (int c = 0; c < kLanes; ++c, panel += kNR) {
        Vec w[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) acc[m][n] += splat(in[m][n * kLanes + c]) * w[n];
      }
    }
  }
};

// Chooses G among 1, 2, 4, ... up to the lanes.
template <int G = 1>
inline TileFunction grouped_tile_function(int64_t group, int64_t m, int64_t vectors) {
  if (group == G || G == kLanes) return tile_function<Grouped<G>>(m, vectors);
  return grouped_tile_function<G == kLanes ? G : 2 * G>(group, m, vectors);
}

}  // namespace
}  // namespace resfuse
