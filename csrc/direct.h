// Direct convolution, once, for any vector width: one thread's work on one unit of the plan.
//
//   for each panel of NR = 2 vectors of output channels          (pack: reduction x NR)
//     for each block, for each tile of up to MR pixels
//       for each pass over the window                            (point: MR pointers a run)
//         for each run, for each k in it                         (tile: MR x NR in registers)
//           acc[m][:] += in[m][k] * panel[k][:]
//       out = relu(scale * acc + shift + residual)               (the only store of the output)
//
// README.md in this folder draws it and counts the registers.

#pragma once

#include <utility>

#include "conv.h"
#include "plan.h"
#include "simd.h"

namespace resfuse {
namespace {

constexpr int kVectors = 2;
constexpr int kNR = kVectors * kLanes;
// 12 x 2 accumulators of 32 registers, or 6 x 2 of 16, leave room for two vectors of weights and
// for the broadcast pixels. 12 pointers to pixels also still fit into x86's general registers;
// 14 x 2 spilled them and lost.
constexpr int kMR = kRegisters == 32 ? 12 : 6;

alignas(64) const float kZeros[kMaxPassFloats] = {};  // what lies outside the image

struct Scratch {
  float* panel;    // packed weights, Plan::panel_floats
  float* windows;  // copies of windows that hang over an edge, Plan::window_floats
  float scale[kNR], shift[kNR];
  alignas(64) float acc[kMR * kNR];  // accumulators, between two passes
  const float* rows[kMR * kMaxPassRuns];
  double sums[3][kNR];
};

// Where a pixel's window begins; negative in the padding.
struct Corner {
  int64_t image, y, x;
};

// One register tile: which runs it reads, and what becomes of it.
struct Tile {
  const float* const* rows;  // (runs, m): each pixel's pointer into each run
  int64_t runs, length;
  const float* panel;
  float* acc;
  bool first, last;  // of the passes
  float* out;
  int64_t out_stride;
  int64_t columns;  // how many of NR are real
  const float *scale, *shift, *residual;
  bool relu;
  double (*sums)[kNR];
};

template <int N>
inline void add_sums(const Tile& tile, const Vec& sum, const Vec& deviation, int n, int m) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int o = n * kLanes + lane;
    const double s = sum[lane];
    tile.sums[0][o] += s;
    tile.sums[1][o] += s * s / m;
    tile.sums[2][o] += deviation[lane];
  }
}

// Adds the tile to its block's sums: its total s, s^2 / M and the squared deviations from its own
// mean. In doubles s^2 / M may cancel against the grand total: a mean a thousand times the
// deviation costs six of sixteen digits (Chan, Golub & LeVeque 1983, eq. 1.5b, for many samples).
template <int M, int N>
inline void accumulate_sums(const Tile& tile, const Vec (&acc)[M][N]) {
  for (int n = 0; n < N; ++n) {
    Vec sum = acc[0][n];
    for (int m = 1; m < M; ++m) sum += acc[m][n];
    const Vec mean = sum * splat(1.0f / M);
    Vec deviation = {};
    for (int m = 0; m < M; ++m) deviation += (acc[m][n] - mean) * (acc[m][n] - mean);
    add_sums<N>(tile, sum, deviation, n, M);
  }
}

template <int M, int N>
inline void finish(const Tile& tile, Vec (&acc)[M][N]) {
  if (tile.sums) accumulate_sums(tile, acc);
  const bool whole = tile.columns == N * kLanes;
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      const int64_t at = m * tile.out_stride + n * kLanes;
      const int64_t count = tile.columns - n * kLanes;
      Vec y = acc[m][n];
      if (!tile.sums) {
        y = y * load(tile.scale + n * kLanes) + load(tile.shift + n * kLanes);
        if (tile.residual)
          y += whole ? load(tile.residual + at) : load_partial(tile.residual + at, count);
        if (tile.relu) y = relu(y);
      }
      if (whole)
        store(tile.out + at, y);
      else
        store_partial(tile.out + at, y, count);
    }
  }
}

template <int M, int N>
void compute_tile(const Tile& tile) {
  Vec acc[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      acc[m][n] = tile.first ? Vec{} : load(tile.acc + (m * N + n) * kLanes);

  const float* weights = tile.panel;
  for (int64_t run = 0; run < tile.runs; ++run) {
    const float* in[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) in[m] = tile.rows[run * M + m];
    for (int64_t k = 0; k < tile.length; ++k, weights += N * kLanes) {
      Vec w[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) w[n] = load(weights + n * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const Vec x = splat(in[m][k]);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += x * w[n];
      }
    }
  }

  if (tile.last) return finish<M, N>(tile, acc);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(tile.acc + (m * N + n) * kLanes, acc[m][n]);
}

using TileFunction = void (*)(const Tile&);

// Every height from 1 to MR, so that a remainder costs only what it computes.
template <int N, int... M>
TileFunction pick_height(int64_t m, std::integer_sequence<int, M...>) {
  static constexpr TileFunction functions[] = {compute_tile<M + 1, N>...};
  return functions[m - 1];
}

inline TileFunction tile_function(int64_t m, int64_t vectors) {
  using Heights = std::make_integer_sequence<int, kMR>;
  return vectors == 1 ? pick_height<1>(m, Heights{}) : pick_height<2>(m, Heights{});
}

// One unit: its panel of output channels over its blocks of pixels.
class Unit {
 public:
  Unit(const Conv& conv, const Plan& plan, const Operands& operands, Scratch& scratch, int64_t panel)
      : conv_(conv), plan_(plan), operands_(operands), scratch_(scratch) {
    group_ = panel / plan.panels_per_group;
    const int64_t within = panel % plan.panels_per_group * kNR;
    columns_ = conv.group_out() - within < kNR ? conv.group_out() - within : kNR;
    channel_ = group_ * conv.group_out() + within;
    vectors_ = columns_ <= kLanes ? 1 : kVectors;
  }

  // Gathers the panel's columns of the kernel, and of the epilogue, padded with zeros.
  void pack() const {
    float* to = scratch_.panel;
    for (int64_t k = 0; k < conv_.reduction(); ++k, to += vectors_ * kLanes)
      copy_padded(to, operands_.kernel + k * conv_.out_c + channel_);
    if (!operands_.epilogue) return;
    copy_padded(scratch_.scale, operands_.epilogue->scale + channel_);
    copy_padded(scratch_.shift, operands_.epilogue->shift + channel_);
  }

  void run_block(int64_t block) const {
    const int64_t begin = block * plan_.block_pixels;
    const int64_t end = smaller(begin + plan_.block_pixels, conv_.pixels());
    for (double(&row)[kNR] : scratch_.sums)
      for (double& sum : row) sum = 0.0;
    // Tiles of nearly equal height: 13 pixels are 7 and 6, not 12 and 1.
    const int64_t tiles = (end - begin + kMR - 1) / kMR;
    for (int64_t t = 0, pixel = begin; t < tiles; ++t) {
      const int64_t m = (end - pixel) / (tiles - t);
      run_tile(pixel, m);
      pixel += m;
    }
    if (operands_.sums) store_sums(block);
  }

 private:
  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

  void copy_padded(float* to, const float* from) const {
    for (int64_t n = 0; n < vectors_; ++n, to += kLanes, from += kLanes) {
      const int64_t count = columns_ - n * kLanes;
      store(to, count >= kLanes ? load(from) : load_partial(from, count));
    }
  }

  void store_sums(int64_t block) const {
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t o = 0; o < columns_; ++o)
        operands_.sums[(block * 3 + row) * conv_.out_c + channel_ + o] = scratch_.sums[row][o];
  }

  void run_tile(int64_t pixel, int64_t m) const {
    Corner corners[kMR];
    locate(pixel, m, corners);
    const int64_t at = pixel * conv_.out_c + channel_;
    const Epilogue* epilogue = operands_.epilogue;
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.panel = scratch_.panel;
    tile.acc = scratch_.acc;
    tile.out = operands_.out + at;
    tile.out_stride = conv_.out_c;
    tile.columns = columns_;
    tile.scale = scratch_.scale;
    tile.shift = scratch_.shift;
    tile.residual = epilogue && epilogue->residual ? epilogue->residual + at : nullptr;
    tile.relu = epilogue && epilogue->relu;
    tile.sums = operands_.sums ? scratch_.sums : nullptr;
    run_passes(corners, m, tile);
  }

  void run_passes(const Corner* corners, int64_t m, Tile& tile) const {
    const TileFunction compute = tile_function(m, vectors_);
    tile.first = true;
    for (int64_t run = 0; run < plan_.runs; run += plan_.pass_runs)
      for (int64_t offset = 0; offset < plan_.run_length; offset += plan_.pass_length) {
        tile.runs = smaller(plan_.pass_runs, plan_.runs - run);
        tile.length = smaller(plan_.pass_length, plan_.run_length - offset);
        tile.last = run + tile.runs == plan_.runs && offset + tile.length == plan_.run_length;
        for (int64_t r = 0; r < tile.runs; ++r)
          point(corners, m, run + r, offset, tile.length, r);
        compute(tile);
        tile.panel += tile.runs * tile.length * vectors_ * kLanes;
        tile.first = false;
      }
  }

  void locate(int64_t pixel, int64_t m, Corner* corners) const {
    int64_t x = pixel % conv_.out_w;
    int64_t y = pixel / conv_.out_w % conv_.out_h;
    int64_t image = pixel / conv_.out_w / conv_.out_h;
    for (int64_t i = 0; i < m; ++i) {
      corners[i] = {image, y * conv_.stride_h - conv_.pad_top, x * conv_.stride_w - conv_.pad_left};
      if (++x < conv_.out_w) continue;
      x = 0;
      if (++y < conv_.out_h) continue;
      y = 0;
      ++image;
    }
  }

  // Points the tile's pixels at `length` floats of a run, from `offset` on: into the image itself,
  // at zeros, or, where the run crosses the left or right edge, at a padded copy.
  void point(const Corner* corners, int64_t m, int64_t run, int64_t offset, int64_t length,
             int64_t slot) const {
    const int64_t i = conv_.groups == 1 ? run : run / conv_.kernel_w;
    const int64_t j = conv_.groups == 1 ? 0 : run % conv_.kernel_w;
    const int64_t channel = group_ * conv_.group_in() + offset;
    const int64_t row_floats = conv_.in_w * conv_.in_c;
    for (int64_t p = 0; p < m; ++p) {
      const int64_t y = corners[p].y + i;
      const int64_t begin = (corners[p].x + j) * conv_.in_c + channel;
      const float*& row = scratch_.rows[slot * m + p];
      if (y < 0 || y >= conv_.in_h || begin + length <= 0 || begin >= row_floats) {
        row = kZeros;
        continue;
      }
      const float* image_row = operands_.in + (corners[p].image * conv_.in_h + y) * row_floats;
      row = image_row + begin;
      if (begin < 0 || begin + length > row_floats)
        row = copy_window(image_row, begin, length, scratch_.windows + (slot * kMR + p) * length);
    }
  }

  const float* copy_window(const float* row, int64_t begin, int64_t length, float* to) const {
    const int64_t row_floats = conv_.in_w * conv_.in_c;
    const int64_t left = begin < 0 ? -begin : 0;
    const int64_t right = smaller(length, row_floats - begin);
    for (int64_t k = 0; k < left; ++k) to[k] = 0.0f;
    for (int64_t k = left; k < right; ++k) to[k] = row[begin + k];
    for (int64_t k = right; k < length; ++k) to[k] = 0.0f;
    return to;
  }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Scratch& scratch_;
  int64_t group_, columns_, channel_, vectors_;
};

}  // namespace
}  // namespace resfuse
