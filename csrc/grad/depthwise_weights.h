// The weight gradient of a depthwise convolution, of a block of pixels and a vector of channels. No
// windows are copied, for all that a pixel's channels meet is side by side in the image:
//
//   for each R rows of the window, for each T of their taps
//     for each pixel of the block, row by row
//       acc[row, tap] += in[the tap's pixel] * d_out[pixel]     R x T accumulators in registers
//
// All nine taps of a 3x3 window fit, so each output's gradient is loaded once.

#pragma once

#include "base/arithmetic.h"
#include "conv/tile_shape.h"
#include "conv/window.h"
#include "grad/weight_tile.h"

namespace resfuse {
namespace {

// The first of some taps of the window.
struct Tap {
  int64_t k, i, j;
};

// The rows of the image that a row of outputs meets in R of the window's rows, each at the channels
// in its first column; a row outside the image is zeros, and no step long.
template <int R>
struct MetRows {
  const float* at[R];
  int64_t step[R];

  MetRows(const Conv& conv, const Corner& corner, const Tap& tap, const float* images) {
    for (int r = 0; r < R; ++r) {
      const Row met = row_of_window(conv, corner, tap.k, tap.i + r);
      at[r] = met.inside ? images + met.at : kZeros;
      step[r] = met.inside ? conv.in_c : 0;
    }
  }
};

// Adds the products of a pixel whose window begins in a column. A `whole` vector of channels is
// real, or as many of it as there are `channels`. What a column outside the image meets is chosen
// without a branch: small images have a third of their pixels and more at the ends of rows.
template <bool whole, int R, int T>
__attribute__((always_inline)) inline void add_pixel(const MetRows<R>& rows, const Side& w,
                                                     int64_t column, int64_t channels,
                                                     const float* at_d_out, Vec (&acc)[R * T][1]) {
  const auto load_channels = [&](const float* from) {
    return whole ? load(from) : load_some(from, channels);
  };
  const Vec d_out = load_channels(at_d_out);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const int64_t at = column + t * w.window_dilation;
    const bool is_real = at >= 0 && at < w.in;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float* const in = is_real ? rows.at[r] + at * rows.step[r] : kZeros;
      acc[r * T + t][0] += load_channels(in) * d_out;
    }
  }
}

// Adds a block's products, of the pixels from `first` on, to the rows of the result of R x T taps.
// The tile's rows are the images, at its first channel.
template <bool whole, int R, int T>
void sum_taps(const Conv& conv, int64_t first, const Tap& tap, const WeightTile& tile) {
  const Side& w = conv.w;
  const int64_t end = first + tile.pixels;
  const float* d_out = tile.panel;
  Vec acc[R * T][1] = {};
  for (int64_t pixel = first; pixel < end;) {
    const int64_t x = pixel % w.out, last = smaller(end, pixel - x + w.out);
    const MetRows<R> rows(conv, corner_of_row(conv, pixel / w.out), tap, tile.rows);
    int64_t column = x * w.stride - w.pad + tap.j * w.window_dilation;
    for (; pixel < last; ++pixel, column += w.stride, d_out += tile.panel_stride)
      add_pixel<whole, R, T>(rows, w, column, tile.columns, d_out, acc);
  }
  add_to_result<R * T, 1>(tile, acc);
}

using DepthwiseFunction = void (*)(const Conv&, int64_t, const Tap&, const WeightTile&);

// Taps that are summed together: some rows of the window, all of them if there are several.
struct TapBlock {
  int64_t rows, columns;
  DepthwiseFunction sum[2];  // of a whole vector of channels, and of a part of one, or null
};

template <int R, int T>
constexpr TapBlock tap_block() {
  return {R, T, {sum_taps<true, R, T>, sum_taps<false, R, T>}};
}

// Seven taps for whole vectors alone: networks with such windows have no others.
template <int R>
constexpr TapBlock seven_taps() {
  return {R, 7, {sum_taps<true, R, 7>, nullptr}};
}

// As many as there are, of so many rows and columns that are left of the window. A multiply-add
// takes four cycles, so fewer than eight accumulators wait for each other.
inline const TapBlock& most_taps(const Conv& conv, int64_t rows, int64_t columns, bool is_part) {
  static constexpr TapBlock kinds[] = {tap_block<3, 3>(), seven_taps<2>(),   tap_block<2, 5>(),
                                       seven_taps<1>(),   tap_block<1, 5>(), tap_block<1, 3>(),
                                       tap_block<1, 1>()};
  const TapBlock* kind = kinds;
  const auto fits = [&] {
    const bool is_all = kind->columns == conv.w.kernel;
    return kind->sum[is_part] && kind->rows <= rows && kind->columns <= columns &&
           (kind->rows == 1 || is_all);
  };
  while (!fits()) ++kind;
  return *kind;
}

}  // namespace
}  // namespace resfuse
