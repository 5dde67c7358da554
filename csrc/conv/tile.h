// The register tile, written once for any vector width: MR rows of inputs times NR output channels,
// all of their sums in registers. Rows are pixels for the direct algorithm.
//
//   for each run, for each k in it
//     acc[m][:] += rows[run][m][k] * panel[k][:]

#pragma once

#include <utility>

#include "base/simd.h"
#include "conv/epilogue.h"
#include "conv/sums.h"

namespace resfuse {
namespace {

// A row of the image that a window meets; outside the image zeros, of which there is one pixel.
struct ImageRow {
  const float* at;
  int64_t is_real;  // 1 or 0
};

// What a tile along the image's rows reads (row_tile.h): columns `step` floats apart, of which
// [first, last) are in the image; `all` if the tile needs no others.
struct AlongRows {
  const ImageRow* rows;
  int64_t step, first, last;
  bool all;
  const float* zeros;  // what is read for the others
};

// What a tile brings into L2 for those after it while it computes: a line for each k, `step` bytes
// apart. There is always a line to ask for, if one that is there: a branch would cost more.
struct Ahead {
  const char* at;
  int64_t step;

  void bring() {
    __builtin_prefetch(at, 0, 2);
    at += step;
  }
  void skip(int64_t ks) { at += ks * step; }
};

inline Ahead ahead_of(const float* at, int64_t step) {
  return {reinterpret_cast<const char*>(at), step};
}

struct Tile;
// Sums up a tile of narrow groups, to (height, vectors).
using SumFunction = void (*)(const Tile&, int height, int vectors, Vec* to);

// Says which runs a register tile reads, and what becomes of it; and of the tiles that follow it,
// where their kind has a way from one to the next.
struct Tile {
  // (runs, m): each row's pointer into each run; or (runs,): the first row's, and the others lie
  // `row_stride` floats apart.
  const float* const* rows;
  int64_t row_stride;
  int64_t offset;  // floats from there to the panel's inputs
  int64_t runs, length;
  const float* panel;  // packed, kNR floats for each k
  Ahead ahead;
  int64_t count = 1;  // tiles
  float* acc;
  bool first, last;  // of the passes
  const Output* output;
  int64_t pixel, pixel_stride;  // in the output, in floats
  const int64_t* pixels;        // each row's place in the output, or null: a stride apart
  Sums* sums;                   // null but in training
  SumFunction sum;              // of narrow groups (grouped.h)
  // Depthwise tiles read along the image's rows; their vector is the panel's `vector`-th.
  const AlongRows* along;
  int64_t vector, panel_stride;
  int64_t channel;  // of the first sum, among the output's

  int64_t pixel_at(int m) const { return pixels ? pixels[m] : pixel + m * pixel_stride; }
};

inline void run_on_some(const Tile& tile, int height, int vectors) {
  const Output& output = *tile.output;
  int64_t pixels[kMaxMR];
  for (int m = 0; m < height; ++m) {
    pixels[m] = tile.pixel_at(m);
    for (int n = 0; n < vectors; ++n) {
      const int64_t at = (m * vectors + n) * kLanes;
      store(output.registers.slots[0] + at,
            scale_and_shift(output, n * kLanes, load(tile.acc + at)));
    }
  }
  finish_by_program(output, pixels, height);
}

// Finishes outputs from tile.acc, which is rare: where outputs are scattered, or in training.
__attribute__((noinline)) inline void finish_some(const Tile& tile, int height, int vectors) {
  const auto acc = [&](int m, int n) { return load(tile.acc + (m * vectors + n) * kLanes); };
  if (tile.sums)
    for (int n = 0; n < vectors; ++n) {
      Vec column[kMaxMR];
      for (int m = 0; m < height; ++m) column[m] = acc(m, n);
      add_to_sums(column, height, *tile.sums, n * kLanes);
    }
  const Output& output = *tile.output;
  if (output.program) return run_on_some(tile, height, vectors);
  for (int m = 0; m < height; ++m)
    for (int n = 0; n < vectors; ++n)
      finish_vector(output, tile.pixel_at(m), n * kLanes, acc(m, n));
}

// Accumulates rows[run][m][k] * panel[k][:] for each run and k < length.
struct Dense {
  static constexpr bool kIsFollowed = false;

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
      ahead.bring();
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
// pointers to every third reach all of them, so that none comes from memory.
struct Matrix {
  static constexpr bool kIsFollowed = true;

  template <int M, int N>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    const float* panel = tile.panel;
    Ahead ahead = tile.ahead;
    for (int64_t run = 0; run < tile.runs; ++run)
      add_run(tile.rows[run] + tile.offset, tile.row_stride, tile.length, panel, ahead, acc);
  }

  template <int M, int N>
  static void add_run(const float* first, int64_t stride, int64_t length, const float*& panel,
                      Ahead& ahead, Vec (&acc)[M][N]) {
    const float* in[(M + 2) / 3];
#pragma GCC unroll 4
    for (int m = 0; m < M; m += 3) in[m / 3] = first + m * stride;
    for (int64_t k = 0; k < length; ++k, panel += kNR) {
      ahead.bring();
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
    if (tile.last && !tile.sums && !tile.pixels) {
      const bool more = Kind::kIsFollowed && tile.count > 1;
      finish_tile(*tile.output, tile.channel, tile.pixel, tile.pixel_stride, more, acc);
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

// Every height up to the highest is compiled, so that a remainder costs only what it computes.
template <typename Kind, int N, int... M>
TileFunction pick_height(int64_t m, std::integer_sequence<int, M...>) {
  static constexpr TileFunction functions[] = {compute_tile<Kind, M + 1, N>...};
  return functions[m - 1];
}

template <typename Kind, int kHighestOfOne = kMR>
inline TileFunction tile_function(int64_t m, int64_t vectors) {
  if (vectors == 1)
    return pick_height<Kind, 1>(m, std::make_integer_sequence<int, kHighestOfOne>{});
  return pick_height<Kind, 2>(m, std::make_integer_sequence<int, kMR>{});
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
