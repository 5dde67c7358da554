// The register tile of depthwise convolutions: M neighbours in a row of outputs times one vector of
// channels. Their windows overlap, so each input is loaded once for all outputs that it reaches:
//
//   for each row of the window                            W vectors of weights in registers
//     for each of (M - 1) S + W columns                   one load
//       acc[m] += in[column] * weights[column - m S]      for each m whose window it is in
//
// Those are (M - 1) S + 2 W loads for W M multiply-adds; two of each start in a cycle. With 32
// registers M is up to 14: with S = 1 a window of 3 takes 0.45 loads for a multiply-add, one of 7
// takes 0.28. With 16 it is up to 11 and 7, and 0.48 and 0.41. Each output's sum runs over its taps
// in their order, as in the other tiles.

#pragma once

#include "conv/tile.h"

namespace resfuse {
namespace {

// The highest tile for windows of so many columns: sums, weights and two inputs fill the registers.
// Room for one input made compilers spill: with AVX2, 12 neighbours of a 3x3 window took longer
// than 11 by a third. With 32 registers 14, for images are often 7 times a power of two wide: rows
// of 14 in tiles of 7 took longer by a sixth. Where more than 12 gained nothing the code is spared,
// and of windows that are rare, of one column or two or of 7 with strides, that of more than 7.
constexpr int highest_along_row(int64_t columns, int64_t stride) {
  constexpr int kHighest = kRegisters == 32 ? 14 : kMaxMR;
  static_assert(kHighest <= kVectors * kMR, "a tile's sums have room in memory");
  const bool is_wide = columns > 3 && stride > 1, is_rare = columns < 3 || (columns > 5 && is_wide);
  const int worth = is_rare ? 7 : is_wide ? kMaxMR : kHighest;
  const int left = kRegisters - 2 - static_cast<int>(columns);
  const int fitting = left < kHighest ? left : kHighest;
  return worth < fitting ? worth : fitting;
}

// Whether tiles of windows of so many columns are added to sums from registers: from memory, behind
// stores to the output that wait for their lines, that takes as long as the products. Larger
// windows compute more for each output; and four lanes, as of the generic instruction set, gain
// less than the code of it costs.
constexpr bool has_sums_in_registers(int64_t columns) { return kLanes > 4 && columns == 3; }

template <int W, int S>
struct AlongRow {
  static constexpr int kHighest = highest_along_row(W, S);
  static constexpr bool kHasSums = has_sums_in_registers(W);

  // Moves on to the next vector of channels.
  static void advance(Tile& tile) {
    tile.panel += ++tile.vector % kVectors ? kLanes : tile.panel_stride - kLanes;
    tile.offset += kLanes;
    tile.pixel += kLanes;
    tile.channel += kLanes;
  }

  // Columns and rows that are not there are read as zeros, and multiplied as all others are: the
  // same operations make the same bits wherever a pixel lies in a tile.
  template <int M>
  static void accumulate(const Tile& tile, Vec (&acc)[M][1]) {
    constexpr int kColumns = (M - 1) * S + W;
    static_assert(kColumns <= 32, "a bit for each");
    const AlongRows along = *tile.along;
    const float* panel = tile.panel;
    for (int64_t run = 0; run < tile.runs; ++run, panel += W * kNR) {
      Vec w[W];
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) w[j] = load(panel + j * kNR);
      // Factors in place of branches, which compilers would duplicate the loop for.
      const ImageRow row = along.rows[run];
      const int64_t step = row.is_real * along.step;
      const float* at = row.at + row.is_real * tile.offset;
#pragma GCC unroll 32
      for (int column = 0; column < kColumns; ++column, at += step) {
        const bool is_end = column < W / 2 || column >= kColumns - W / 2;
        const bool is_outside = is_end && (along.outside >> column & 1);
        const Vec in = in_register(load(is_outside ? along.zeros : at));
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
          if (const int j = column - m * S; j >= 0 && j < W) acc[m][0] += in * w[j];
      }
    }
  }
};

// Adds a tile, which is in the output already, to its vector's sums.
template <int M>
__attribute__((always_inline)) inline void add_to_sums(const Tile& tile, const Vec (&acc)[M][1]) {
  add_to_sums(
      M, [&](int m) { return acc[m][0]; },
      [&] { return Column{tile.output->out + tile.pixel, tile.pixel_stride}; },
      tile.sums[tile.channel / kLanes]);
}

// Computes a tile, and those of the vectors that follow it.
template <typename Kind, int M>
void compute_along_row(Tile& tile) {
  for (;;) {
    Vec acc[M][1] = {};
    Kind::accumulate(tile, acc);
    scale_tile(*tile.output, tile.channel, acc);
    if (tile.count > tile.in_memory) {
      finish_tile(*tile.output, tile.channel, tile.pixel, tile.pixel_stride, acc);
      if constexpr (Kind::kHasSums)
        if (tile.sums) add_to_sums(tile, acc);
    } else {
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) store(tile.acc + m * kLanes, acc[m][0]);
      finish_some(tile, M, 1);
    }
    if (--tile.count == 0) return;
    Kind::advance(tile);
  }
}

template <typename Kind, int... M>
TileFunction pick_along_row(int64_t m, std::integer_sequence<int, M...>) {
  static constexpr TileFunction functions[] = {compute_along_row<Kind, M + 1>...};
  return functions[m - 1];
}

// Chooses among the widths and strides that plan.cc lets go along rows.
inline TileFunction row_tile_function(const Side& w, int64_t m) {
  const auto pick = [&](auto kind) {
    using Kind = decltype(kind);
    return pick_along_row<Kind>(m, std::make_integer_sequence<int, Kind::kHighest>{});
  };
  const bool strided = w.stride == 2;
  switch (w.kernel) {
    case 1:
      return pick(AlongRow<1, 1>{});
    case 2:
      return pick(AlongRow<2, 1>{});
    case 3:
      return strided ? pick(AlongRow<3, 2>{}) : pick(AlongRow<3, 1>{});
    case 5:
      return strided ? pick(AlongRow<5, 2>{}) : pick(AlongRow<5, 1>{});
    default:
      return strided ? pick(AlongRow<7, 2>{}) : pick(AlongRow<7, 1>{});
  }
}

}  // namespace
}  // namespace resfuse
