// The register tile, written once for any vector width: MR rows of inputs times NR output channels,
// all of their sums in registers. Rows are pixels for the direct algorithm.
//
//   for each run, for each k in it
//     acc[m][:] += rows[run][m][k] * panel[k][:]

#pragma once

#include <utility>

#include "conv/finish_in_memory.h"

namespace resfuse {
namespace {

// Accumulates rows[run][m][k] * panel[k][:] for each run and k < length.
struct Dense {
  static constexpr bool kIsFollowed = false;
  static constexpr int kHighestOfOne = kMR;

  template <int M, int N>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    const float* panel = tile.panel;
    Ahead ahead = tile.ahead;
    for (int64_t run = 0; run < tile.runs; ++run)
      add_run(tile.rows + run * M, tile.offset, tile.length, panel, ahead, acc);
  }

  // Accumulates one run, and advances `panel` and `ahead` by it.
  template <int M, int N>
  static void add_run(const float* const* rows, int64_t offset, int64_t length, const float*& panel,
                      Ahead& ahead, Vec (&acc)[M][N]) {
    const float* in[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) in[m] = rows[m] + offset;
    for (int64_t k = 0; k < length; ++k, panel += kNR) {
      ahead.bring<M>();
      Vec w[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const Vec x = splat(in[m][k]);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += x * w[n];
      }
    }
  }
};

// The same where each run's rows are those of a matrix, of which rows[run] points at the first:
// pointers to every third reach all of them, so that none comes from memory. Mostly there is one
// run. Where GCC expected more of them, what it had no registers for was stored and loaded in each
// tile: 1x1 layers of 16 to 32 channels took 1.06 times as long with AVX2.
struct Matrix {
  static constexpr bool kIsFollowed = true;
  static constexpr int kHighestOfOne = kMaxMR;

  template <int M, int N>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    const float* panel = tile.panel;
    Ahead ahead = tile.ahead;
    int64_t run = 0;
    do {
      add_run(tile.rows[run] + tile.offset, tile.row_stride, tile.length, panel, ahead, acc);
    } while (__builtin_expect(++run < tile.runs, 0));
  }

  template <int M, int N>
  static void add_run(const float* first, int64_t stride, int64_t length, const float*& panel,
                      Ahead& ahead, Vec (&acc)[M][N]) {
    const float* in[(M + 2) / 3];
#pragma GCC unroll 4
    for (int m = 0; m < M; m += 3) in[m / 3] = first + m * stride;
    for (int64_t k = 0; k < length; ++k, panel += kNR) {
      ahead.bring<M>();
      Vec w[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const Vec x = splat(in[m / 3][m % 3 * stride]);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += x * w[n];
      }
#pragma GCC unroll 4
      for (int i = 0; i < (M + 2) / 3; ++i) in[i] = in_register(in[i] + 1);
    }
  }

  // Moves on to the next M rows.
  template <int M>
  static void advance(Tile& tile) {
    tile.offset += M * tile.row_stride;
    tile.ahead.skip(tile.runs * tile.length);
    tile.pixel += M * tile.pixel_stride;
  }
};

// Computes a whole tile, whose runs `Kind` accumulates, and those that follow it.
template <typename Kind, int M, int N>
void compute_tile(Tile& tile) {
  for (;;) {
    Vec acc[M][N] = {};
    Kind::accumulate(tile, acc);
    if (!tile.first)
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += load(tile.acc + (m * N + n) * kLanes);
    if (tile.last) scale_tile(*tile.output, tile.channel, acc);
    if (tile.last && tile.count > tile.in_memory) {
      finish_tile(*tile.output, tile.channel, tile.pixel, tile.pixel_stride, acc);
    } else {
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) store(tile.acc + (m * N + n) * kLanes, acc[m][n]);
      if (tile.last) finish_some(tile, M, N);
    }
    if constexpr (Kind::kIsFollowed)
      if (--tile.count > 0) {
        Kind::template advance<M>(tile);
        continue;
      }
    return;
  }
}

using TileFunction = void (*)(Tile&);

// Tiles of each height up to the highest, so that a remainder costs only what it computes.
struct Tiles {
  const TileFunction* functions;
  int64_t highest;

  TileFunction of_height(int64_t m) const { return functions[m - 1]; }
};

template <typename Kind, int N, int... M>
Tiles tiles_up_to(std::integer_sequence<int, M...>) {
  static constexpr TileFunction functions[] = {compute_tile<Kind, M + 1, N>...};
  return {functions, sizeof...(M)};
}

template <typename Kind>
inline Tiles tiles_of(int64_t vectors) {
  if (vectors == 1)
    return tiles_up_to<Kind, 1>(std::make_integer_sequence<int, Kind::kHighestOfOne>{});
  return tiles_up_to<Kind, 2>(std::make_integer_sequence<int, kMR>{});
}

// Cuts `rows` into tiles of nearly equal height, 13 into 7 and 6 and not into 12 and 1, and calls
// `function(first, m, count)` for those of each height.
template <typename Function>
inline void for_each_height(int64_t rows, Function function, int64_t highest = kMR) {
  const int64_t tiles = (rows + highest - 1) / highest;
  if (tiles == 0) return;
  const int64_t m = rows / tiles, higher = rows % tiles;
  function(0, m, tiles - higher);
  if (higher > 0) function((tiles - higher) * m, m + 1, higher);
}

// Calls `function(first, m)` for each tile.
template <typename Function>
inline void for_each_tile(int64_t rows, Function function, int64_t highest = kMR) {
  const auto each = [&](int64_t first, int64_t m, int64_t count) {
    for (int64_t tile = 0; tile < count; ++tile) function(first + tile * m, m);
  };
  for_each_height(rows, each, highest);
}

}  // namespace
}  // namespace resfuse
