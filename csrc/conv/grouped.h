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
struct Rotations {
  // As many rows go at a time as keep a vector's rotations in registers beside its weights and an
  // input, or beside their inputs and a weight; nearly as many each time.
  static constexpr int kBesideWeights = (kRegisters - 2 - G) / G;
  static constexpr int kBesideInputs = (kRegisters - 1) / (G + 1);
  static constexpr bool kKeepsInputs = kBesideInputs > kBesideWeights;
  static constexpr int kMost = kKeepsInputs ? kBesideInputs : kBesideWeights;
  static constexpr int kTimes = (kMR + kMost - 1) / kMost;
  static constexpr int kRows = kMR / kTimes;

  // Some rows of a tile, of one vector: the first input, how many others lie before that of the
  // next run, and the first sum, `vectors` from the next row's.
  struct Rows {
    const float* const* inputs;
    int height, n, vectors;
    float* to;
  };

  static void sum(const Tile& tile, int height, int vectors, float* to) {
    for (int n = 0; n < vectors; ++n)
      for (int m = 0, count; m < height; m += count) {
        count = height - m < kRows ? height - m : kRows;
        pick(count, std::make_integer_sequence<int, kRows>{})(
            tile, {tile.rows + m, height, n, vectors, to + (m * vectors + n) * kLanes});
      }
  }

  template <int... R>
  static auto pick(int rows, std::integer_sequence<int, R...>) {
    static constexpr void (*functions[])(const Tile&, const Rows&) = {sum_rows<R + 1>...};
    return functions[rows - 1];
  }

  template <int R>
  static void sum_rows(const Tile& tile, const Rows& rows) {
    Vec rotation[R][G] = {};
    const int64_t offset = tile.offset + rows.n * kLanes;
    const float* panel = tile.panel + rows.n * kLanes;
    const float* const* inputs = rows.inputs;
    for (int64_t run = 0; run < tile.runs; ++run, panel += G * kNR, inputs += rows.height)
      add_tap(panel, inputs, offset, rotation);
#pragma GCC unroll 16
    for (int row = 0; row < R; ++row) {
      Vec sum = rotation[row][0];
#pragma GCC unroll 16
      for (int r = 1; r < G; ++r) sum += rotate(rotation[row][r], r);
      store(rows.to + row * rows.vectors * kLanes, sum);
    }
  }

  template <int R>
  static void add_tap(const float* panel, const float* const* inputs, int64_t offset,
                      Vec (&rotation)[R][G]) {
    constexpr int kKept = kKeepsInputs ? R : G, kOthers = kKeepsInputs ? G : R;
    const auto weight = [&](int r) { return in_register(load(panel + r * kNR)); };
    const auto input = [&](int row) { return load(inputs[row] + offset); };
    Vec kept[kKept];
#pragma GCC unroll 16
    for (int i = 0; i < kKept; ++i) kept[i] = kKeepsInputs ? input(i) : weight(i);
#pragma GCC unroll 16
    for (int o = 0; o < kOthers; ++o) {
      const Vec other = kKeepsInputs ? weight(o) : input(o);
#pragma GCC unroll 16
      for (int i = 0; i < kKept; ++i)
        (kKeepsInputs ? rotation[i][o] : rotation[o][i]) += kept[i] * other;
    }
  }

  // Moves each lane's value to the lane `r` further in its group.
  static Vec rotate(Vec value, int r) {
    Lanes from;
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) from[lane] = lane / G * G + (lane - r + G) % G;
    return shuffle(value, from);
  }
};

// Where groups are as wide as a vector, an input is the same for all lanes.
template <int M, int N>
void sum_broadcast(const Tile& tile, float* to) {
  Vec acc[M][N] = {};
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
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(to + (m * N + n) * kLanes, acc[m][n]);
}

template <int N, int... M>
void pick_broadcast(const Tile& tile, int height, float* to, std::integer_sequence<int, M...>) {
  static constexpr void (*functions[])(const Tile&, float*) = {sum_broadcast<M + 1, N>...};
  functions[height - 1](tile, to);
}

inline void broadcast_sum(const Tile& tile, int height, int vectors, float* to) {
  using Heights = std::make_integer_sequence<int, kMR>;
  vectors == 1 ? pick_broadcast<1>(tile, height, to, Heights{})
               : pick_broadcast<2>(tile, height, to, Heights{});
}

// Chooses G among 1, 2, 4, ... up to the lanes.
template <int G = 1>
inline SumFunction sum_function(int64_t group) {
  if constexpr (G == kLanes)
    return broadcast_sum;
  else
    return group == G ? Rotations<G>::sum : sum_function<2 * G>(group);
}

// Scales, shifts and finishes a tile in memory, row by row where registers are all that it takes.
template <int N>
void finish_sums(Tile& tile, int height) {
  const Output output = *tile.output;  // a local, for outputs might alias members
  const bool is_plain = tile.in_memory == 0;
  float* at = tile.acc;
  int64_t pixel = tile.pixel;
  for (int m = 0; m < height; ++m, at += N * kLanes, pixel += tile.pixel_stride) {
    Vec acc[1][N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) acc[0][n] = load(at + n * kLanes);
    scale_tile(output, 0, acc);
    if (is_plain) {
      finish_tile(output, 0, pixel, 0, acc);
      continue;
    }
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(at + n * kLanes, acc[0][n]);
  }
  if (!is_plain) finish_some(tile, height, N);
}

// Computes a tile, whose sums `tile.sum` leaves in memory, where it is finished as well: one
// function for all groups and heights.
inline void compute_grouped(Tile& tile, int height, int vectors) {
  alignas(64) float sums[kMR * kNR];
  tile.sum(tile, height, vectors, tile.first ? tile.acc : sums);
  if (!tile.first)
    for (int i = 0; i < height * vectors; ++i) {
      float* const at = tile.acc + i * kLanes;
      store(at, load(sums + i * kLanes) + load(at));
    }
  if (tile.last) vectors == 1 ? finish_sums<1>(tile, height) : finish_sums<kVectors>(tile, height);
}

}  // namespace
}  // namespace resfuse
