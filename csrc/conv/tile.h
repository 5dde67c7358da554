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

// What a tile along the image's rows reads (row_tile.h): columns `step` floats apart.
struct AlongRows {
  const ImageRow* rows;
  int64_t step;
  uint32_t outside;    // bit c: column c is not in the image,
  const float* zeros;  // and these are read for it
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

// The weights from `at` on, a step of which is kNR floats, where tiles go through so many rows:
// each brings a share of a step.
inline Ahead share_ahead(const float* at, int64_t rows) {
  constexpr auto kStepBytes = static_cast<int64_t>(kNR * sizeof(float));
  return ahead_of(at, ceil_div(kStepBytes, ceil_div(rows, kMR)));
}

struct Tile;
// Sums up a tile of narrow groups, to (height, vectors).
using SumFunction = void (*)(const Tile&, int height, int vectors, float* to);

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
  int64_t count = 1;  // tiles, which follow each other,
  int64_t in_memory;  // of which so many, the last ones, are finished in memory
  float* acc;         // there
  bool first, last;   // of the passes
  const Output* output;
  int64_t pixel, pixel_stride;  // in the output, in floats
  const int64_t* pixels;        // each row's place in the output, or null: a stride apart
  Sums* sums;                   // of the output's vectors, null but in training
  SumFunction sum;              // of narrow groups (grouped.h)
  // Depthwise tiles read along the image's rows; their vector is the panel's `vector`-th.
  const AlongRows* along;
  int64_t vector, panel_stride;
  int64_t channel;  // of the first sum, among the output's

  // Whether registers are all that it takes to finish its whole vectors.
  bool is_plain() const { return !sums && !pixels && output->is_compiled(); }
  // Says so, where `parts` of the tiles end with a part of a vector.
  void finish_in_memory(int64_t parts) {
    constexpr int64_t kAll = INT64_MAX;
    in_memory = !is_plain() ? kAll : kHasMasks || output->is_whole() ? 0 : parts;
  }
};

// Adds a tile in memory to the sums.
inline void add_tile_to_sums(const Tile& tile, int height, int vectors) {
  Sums* const sums = tile.sums + tile.channel / kLanes;
  for (int n = 0; n < vectors; ++n)
    add_to_sums({tile.acc + n * kLanes, vectors * kLanes}, height, sums[n]);
}

// Stores whole vectors of a tile in memory, as in training, where there is no epilogue.
inline void store_tile(const Tile& tile, int height, int vectors) {
  float* to = tile.output->out + tile.pixel;
  const float* from = tile.acc;
  for (int m = 0; m < height; ++m, to += tile.pixel_stride)
    for (int n = 0; n < vectors; ++n, from += kLanes) store(to + n * kLanes, load(from));
}

// Runs the program on `count` vectors more behind those that wait in slot 0; or lets all of them
// wait for the tiles to come as long as there is room. Each operation of a function waits for the
// one before, which seven vectors do not hide: with SiLU a depthwise convolution takes 0.7 to 0.85
// of the time so.
inline void run_or_wait(Tile& tile, int64_t waiting, int64_t count) {
  const Output& output = *tile.output;
  const bool waits = tile.count > 1 && waiting + 2 * count <= kMR * kVectors;
  tile.acc = waits ? tile.acc + count * kLanes : output.registers.slots[0];
  if (!waits) finish_by_program(output, waiting + count);
}

// Finishes a plain tile whose last vectors are parts, where there are no masks: asks for the
// epilogue once, and not for each vector.
inline void finish_parts(const Tile& tile, int height, int vectors) {
  const Output output = *tile.output;  // a local, for outputs might alias members
  const int64_t last = smaller(output.columns - tile.channel - (vectors - 1) * kLanes, kLanes);
  const auto each = [&](auto function) {
    const float* from = tile.acc;
    int64_t pixel = tile.pixel;
    for (int m = 0; m < height; ++m, pixel += tile.pixel_stride) {
      int64_t at = pixel;
      for (int n = 1; n < vectors; ++n, at += kLanes, from += kLanes)
        store(output.out + at, function(load(from), at, kLanes));
      store_part(output.out + at, function(load(from), at, last), last);
      from += kLanes;
    }
  };
  const Vec low = splat(output.bounds.low), high = splat(output.bounds.high);
  const auto bounded = [&](Vec value) { return lower(high, upper(low, value)); };
  const auto with_residual = [&](Vec value, int64_t at, int64_t count) {
    return bounded(value + load_some(output.residual + at, count));
  };
  if (output.is_hard_swish)
    each([&](Vec value, int64_t, int64_t) { return hard_swish(output.function, value); });
  else if (output.residual)
    each(with_residual);
  else
    each([&](Vec value, int64_t, int64_t) { return bounded(value); });
}

// Finishes a tile that is in memory, scaled and shifted, in slot 0 or behind what waits there: what
// a program ends, what lies scattered, what a panel's last vector has but in part, and all in
// training. One function, which all tiles call.
__attribute__((noinline)) inline void finish_some(Tile& tile, int height, int vectors) {
  const Output& output = *tile.output;
  if (tile.is_plain()) return finish_parts(tile, height, vectors);
  if (tile.sums) {
    add_tile_to_sums(tile, height, vectors);
    if (!tile.pixels && output.is_whole()) return store_tile(tile, height, vectors);
  }
  const int64_t waiting = (tile.acc - output.registers.slots[0]) / kLanes;
  int64_t* const places = output.registers.places + waiting;
  const int count = height * vectors;
  int64_t pixel = tile.pixel;
  const int64_t stride = tile.pixel_stride, *const pixels = tile.pixels;
  for (int m = 0, i = 0; m < height; ++m, pixel += stride)
    for (int n = 0; n < vectors; ++n) places[i++] = (pixels ? pixels[m] : pixel) + n * kLanes;
  if (output.program) return run_or_wait(tile, waiting, count);
  for (int m = 0, i = 0; m < height; ++m)
    for (int n = 0; n < vectors; ++n, ++i)
      finish_vector(output, places[i], output.columns - n * kLanes, load(tile.acc + i * kLanes));
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
    if (tile.last) scale_tile(*tile.output, tile.channel, acc);
    if (tile.last && tile.count > tile.in_memory) {
      finish_tile(*tile.output, smaller(tile.output->columns - tile.channel, N * kLanes),
                  tile.pixel, tile.pixel_stride, acc);
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
