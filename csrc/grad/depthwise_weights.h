// The weight gradient of a depthwise convolution, of a block of pixels and a panel of channels. No
// windows are copied, for all that a pixel's channels meet is side by side in the image:
//
//   for each row of the window, for up to kTaps of its taps
//     for each pixel of the block, row by row
//       acc[tap] += in[the tap's pixel] * d_out[pixel]     kTaps x 2 accumulators in registers

#pragma once

#include <utility>

#include "base/arithmetic.h"
#include "conv/tile_shape.h"
#include "conv/window.h"
#include "grad/weight_tile.h"

namespace resfuse {
namespace {

// Taps that share a load of d_out.
constexpr int kTaps = kRegisters == 32 ? 8 : 4;

// Some neighbours in a row of outputs, and the row of the image that their windows meet in one of
// the window's rows.
struct RowPair {
  const float* in;              // the panel's channels in the row's first column
  int64_t in_c;                 // 0 where the row is outside the image: `in` is zeros
  int64_t column, step, apart;  // the first pixel's first tap, from pixel to pixel, from tap to tap
  int64_t width;                // columns of the image
  const float* d_out;           // (pixels, NR)
  int64_t pixels;
};

// Adds pixels [first, last) of a row. Taps are looked for in the image unless `inside`; `whole`
// vectors of the panel's channels are real, or `columns` of them.
template <bool inside, bool whole, int T>
__attribute__((always_inline)) inline void add_pixels(const RowPair& row, int64_t first,
                                                      int64_t last, int64_t columns,
                                                      Vec (&acc)[T][kVectors]) {
  for (int64_t p = first; p < last; ++p) {
    const float* const d_out = row.d_out + p * kNR;
    const int64_t column = row.column + p * row.step;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const int64_t at = column + t * row.apart;
      const bool is_real = inside || (at >= 0 && at < row.width);
      const float* const in = is_real ? row.in + at * row.in_c : kZeros;
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) {
        const int64_t lane = n * kLanes;
        const Vec x = whole ? load(in + lane) : load_some(in + lane, columns - lane);
        acc[t][n] += x * load(d_out + lane);
      }
    }
  }
}

// Adds a row: what lies between its ends, and what hangs over them.
template <bool whole, int T>
inline void add_row(const RowPair& row, int64_t columns, Vec (&acc)[T][kVectors]) {
  const int64_t room = row.width - 1 - (T - 1) * row.apart - row.column;  // to the last window
  const int64_t begin = row.column >= 0 ? 0 : smaller(row.pixels, ceil_div(-row.column, row.step));
  const int64_t fitting = room < 0 ? 0 : smaller(row.pixels, room / row.step + 1);
  const int64_t end = fitting < begin ? begin : fitting;
  add_pixels<true, whole>(row, begin, end, columns, acc);
  const int64_t ends[][2] = {{0, begin}, {end, row.pixels}};
  for (const auto& [first, last] : ends) add_pixels<false, whole>(row, first, last, columns, acc);
}

// The first of some taps of a row of the window.
struct Tap {
  int64_t k, i, j;
};

// Adds a block's products, of the pixels from `first` on, to T taps' rows of the result. The tile's
// rows are the images, at the panel's first channel.
template <bool whole, int T>
void sum_taps(const Conv& conv, int64_t first, const Tap& tap, const WeightTile& tile) {
  const Side& w = conv.w;
  Vec acc[T][kVectors] = {};
  for (int64_t done = 0; done < tile.pixels;) {
    const int64_t x = (first + done) % w.out, pixels = smaller(w.out - x, tile.pixels - done);
    const Row met = row_of_window(conv, corner_of_row(conv, (first + done) / w.out), tap.k, tap.i);
    const RowPair row{met.inside ? tile.rows + met.at : kZeros,
                      met.inside ? conv.in_c : 0,
                      x * w.stride - w.pad + tap.j * w.window_dilation,
                      w.stride,
                      w.window_dilation,
                      w.in,
                      tile.panel + done * kNR,
                      pixels};
    add_row<whole>(row, tile.columns, acc);
    done += pixels;
  }
  add_to_result<T, kVectors>(tile, acc);
}

using DepthwiseFunction = void (*)(const Conv&, int64_t, const Tap&, const WeightTile&);

template <bool whole, int... T>
DepthwiseFunction pick_taps(int64_t taps, std::integer_sequence<int, T...>) {
  static constexpr DepthwiseFunction functions[] = {sum_taps<whole, T + 1>...};
  return functions[taps - 1];
}

inline DepthwiseFunction depthwise_function(int64_t taps, int64_t columns) {
  using Taps = std::make_integer_sequence<int, kTaps>;
  return columns == kNR ? pick_taps<true>(taps, Taps{}) : pick_taps<false>(taps, Taps{});
}

}  // namespace
}  // namespace resfuse
