// The weight gradient, once, for any vector width:
//
//   d_kernel[k, i, j, c, o] = sum over pixels p of  in[window of p at (k, i, j), c] * d_out[p, o]
//
// a matrix product whose reduction runs over the pixels:
//
//   for each block of pixels                               (weight_plan.h)
//     copy their windows side by side: rows                (pixels, taps, channels of the unit)
//     for each panel of NR = 2 vectors of output channels
//       copy d_out's panel                                 (pixels, NR)
//       for each tile of MR rows of the result, for each pixel
//         acc[m][:] += rows[pixel][m] * panel[pixel][:]    MR x 2 accumulators in registers
//       d_kernel += acc
//
// The windows of a 1x1 convolution are the image, so its rows are read there, and a panel that few
// rows want in d_out; each panel's products ask for what the next one is made of. Sums are those of
// blocks of a few hundred pixels, added one after the other: their rounding errors grow with the
// blocks' number and not with the pixels'.

#pragma once

#include "conv/tile.h"
#include "conv/window.h"
#include "grad/depthwise_weights.h"
#include "grad/weight_plan.h"

namespace resfuse {
namespace {

template <int M, int N>
void sum_products(const WeightTile& tile) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) __builtin_prefetch(tile.out + m * tile.out_stride, 1);
  Vec acc[M][N] = {};
  const float *row = tile.rows, *panel = tile.panel;
  Ahead begin = tile.ahead, end = begin;  // the lines of a panel's first float and its last
  end.at += (kNR - 1) * sizeof(float);
  for (int64_t p = 0; p < tile.pixels; ++p, row += tile.stride, panel += tile.panel_stride) {
    begin.bring();
    end.bring();
    Vec d[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) d[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vec x = splat(row[m]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] += x * d[n];
    }
  }
  add_to_result<M, N>(tile, acc);
}

// For each lane the first channel of its group.
template <int G>
Lanes first_lanes() {
  Lanes lanes;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane / G * G;
  return lanes;
}

// Narrow groups: rows are vectors of inputs, in the lanes of their own group's outputs. Adds the
// products of channels [first, first + C) of each group with all of a panel's outputs.
template <int G, int C>
void sum_grouped_products(const WeightTile& tile, int first) {
  Vec acc[C][kVectors] = {};
  const Lanes lanes = first_lanes<G>() + first;
  const float *row = tile.rows, *panel = tile.panel;
  for (int64_t p = 0; p < tile.pixels; ++p, row += tile.stride, panel += kNR)
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) {
      const Vec d = load(panel + n * kLanes), x = load(row + n * kLanes);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[c][n] += shuffle(x, lanes + c) * d;
    }
  add_to_result<C, kVectors>(tile, acc);
}

using WeightFunction = void (*)(const WeightTile&);

template <int N, int... M>
WeightFunction pick_weight_function(int64_t m, std::integer_sequence<int, M...>) {
  static constexpr WeightFunction functions[] = {sum_products<M + 1, N>...};
  return functions[m - 1];
}

inline WeightFunction weight_function(int64_t m, int64_t columns) {
  using Heights = std::make_integer_sequence<int, kMR>;
  return columns <= kLanes ? pick_weight_function<1>(m, Heights{})
                           : pick_weight_function<2>(m, Heights{});
}

// Sums all channels of the narrow groups, up to eight at a time. G is 2, 4, ... up to the lanes.
template <int G = 2>
inline void sum_all_grouped(int64_t group, WeightTile tile) {
  if (group != G && G != kLanes) return sum_all_grouped<(G < kLanes ? 2 * G : G)>(group, tile);
  constexpr int kChannels = G < 8 ? G : 8;
  for (int first = 0; first < G; first += kChannels, tile.out += kChannels * tile.out_stride)
    sum_grouped_products<G, kChannels>(tile, first);
}

class WeightGradient {
 public:
  WeightGradient(const WeightJob& job, float* work, const WeightUnit& unit)
      : conv_(job.conv),
        plan_(job.plan),
        job_(job),
        unit_(unit),
        grouped_(plan_.algorithm == Algorithm::kGrouped),
        depthwise_(grouped_ && conv_.group_in() == 1),
        taps_(conv_.taps()),
        tap_floats_(grouped_ ? kNR : unit.channels),
        whole_(!grouped_ && unit.channels == conv_.in_c &&
               conv_.w.kernel / conv_.row_runs() * conv_.in_c <= kMaxPassFloats),
        from_image_(!grouped_ && conv_.is_pointwise() && (kMR == 12 || conv_.in_c < kPage)),
        windows_(job.conv, job.in),
        rows_(work),
        panel_(work + plan_.block_size * plan_.row_floats),
        result_(job.d_kernel + unit.chunk * conv_.reduction() * conv_.out_c) {}

  void run() {
    for (int64_t first = unit_.first; first < unit_.last; first += plan_.block_size) {
      const int64_t pixels = smaller(plan_.block_size, unit_.last - first);
      if (!depthwise_ && !from_image_) gather(first, pixels);
      for (int64_t column = 0; column < unit_.columns; column += kNR) {
        if (!is_read_there(column)) gather_panel(first, pixels, column);
        add_block(first, pixels, column);
      }
    }
  }

 private:
  // Pixels so many floats apart meet in few sets of the caches, from which a low tile takes each
  // line three times: with AVX2 1024 and 2048 channels take 1.3 times as long without a copy, and
  // with AVX-512 0.87 to 0.94.
  static constexpr int64_t kPage = 1024;

  // Copies the windows of the block's pixels: whole rows of them where the unit has all channels.
  void gather(int64_t first, int64_t pixels) {
    for (int64_t done = 0; done < pixels; done += kMR) {
      Corner corners[kMR];
      const int64_t count = smaller(kMR, pixels - done);
      locate(conv_, first + done, count, corners);
      for (int64_t p = 0; p < count; ++p)
        gather_pixel(corners[p], rows_ + (done + p) * plan_.row_floats);
    }
  }

  void gather_pixel(const Corner& corner, float* to) {
    if (whole_) return windows_.copy_to(to, corner);
    const int64_t channel = unit_.group * conv_.group_in() + unit_.first_channel;
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t i = 0; i < conv_.h.kernel; ++i) {
        const Row row = row_of_window(conv_, corner, k, i);
        for (int64_t j = 0; j < conv_.w.kernel; ++j, to += tap_floats_) {
          const int64_t x = corner.x + j * conv_.w.window_dilation;
          gather_run(conv_, job_.in, row, {x * conv_.in_c + channel, unit_.channels, tap_floats_},
                     to);
        }
      }
  }

  void gather_panel(int64_t first, int64_t pixels, int64_t column) {
    const int64_t count = smaller(kNR, unit_.columns - column);
    for (int64_t done = 0; done < pixels;) {
      // A row of outputs, or all of them, are the same number of floats apart.
      const int64_t x = (first + done) % conv_.w.out;
      const int64_t run = job_.scatter.dense ? pixels : smaller(conv_.w.out - x, pixels - done);
      gather_outputs(outputs_at(first + done, column), run, count, panel_ + done * kNR);
      done += run;
    }
  }

  void gather_outputs(const float* from, int64_t pixels, int64_t count, float* to) {
    for (int64_t p = 0; p < pixels; ++p, from += job_.scatter.pixel, to += kNR)
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n)
        store(to + n * kLanes, load_some(from + n * kLanes, count - n * kLanes));
  }

  // Adds the block's products to the columns of a panel: to all rows of the result, where those of
  // all taps lie side by side, or tap by tap.
  void add_block(int64_t first, int64_t pixels, int64_t column) {
    WeightTile tile = tile_of(first, pixels, column);
    if (depthwise_) return add_depthwise(first, tile);
    tile.ahead = next_panel(first, pixels, column);
    const int64_t depth = conv_.group_in(), channel = grouped_ ? 0 : unit_.first_channel;
    for (int64_t tap = 0; tap < (whole_ ? 1 : taps_); ++tap) {
      tile.rows = from_image_ ? job_.in + first * conv_.in_c + channel : rows_ + tap * tap_floats_;
      tile.out = result_ + (tap * depth + channel) * conv_.out_c + unit_.first_column + column;
      if (grouped_)
        sum_all_grouped(depth, tile);
      else
        add_rows(tile, whole_ ? taps_ * depth : unit_.channels);
    }
  }

  // What all tiles of a panel have in common on a block.
  WeightTile tile_of(int64_t first, int64_t pixels, int64_t column) const {
    WeightTile tile{};
    const bool there = is_read_there(column);
    tile.panel = there ? outputs_at(first, column) : panel_;
    tile.panel_stride = there ? job_.scatter.pixel : kNR;
    tile.stride = from_image_ ? conv_.in_c : plan_.row_floats;
    tile.pixels = pixels;
    tile.out_stride = conv_.out_c;
    tile.first = first == unit_.first;
    tile.columns = smaller(kNR, unit_.columns - column);
    return tile;
  }

  // Where a pixel has a column of the unit's.
  const float* outputs_at(int64_t pixel, int64_t column) const {
    return job_.d_out + place_of_output(conv_, job_.scatter, pixel) + unit_.first_column + column;
  }

  // Whether a panel is read where it lies, as whole vectors: more rows repay its copy.
  bool is_read_there(int64_t column) const {
    constexpr int64_t kRows = 64;
    const bool is_whole = smaller(kNR, unit_.columns - column) % kLanes == 0;
    const bool is_seldom = depthwise_ || (is_whole && from_image_ && unit_.channels <= kRows);
    return is_seldom && job_.scatter.dense;
  }

  // What the panel after this one is made of, or zeros if none is.
  Ahead next_panel(int64_t first, int64_t pixels, int64_t column) const {
    const bool is_last = column + kNR >= unit_.columns;  // of the block
    const int64_t next = is_last ? first + pixels : first;
    if (!job_.scatter.dense || next >= unit_.last) return ahead_of(kZeros, 0);
    return ahead_of(outputs_at(next, is_last ? 0 : column + kNR),
                    job_.scatter.pixel * static_cast<int64_t>(sizeof(float)));
  }

  // Adds a block's products, a vector of channels and as many taps as fit into registers at a time.
  void add_depthwise(int64_t first, const WeightTile& panel) {
    for (int64_t lane = 0; lane < panel.columns; lane += kLanes) {
      WeightTile tile = panel;
      tile.rows = job_.in + unit_.first_channel + lane;
      tile.panel += lane;
      tile.columns -= lane;
      tile.out = result_ + unit_.first_column + lane;
      for (int64_t k = 0; k < conv_.d.kernel; ++k)
        for (int64_t i = 0; i < conv_.h.kernel;) i += add_taps(first, k, i, tile);
    }
  }

  // Adds those of some rows of the window, from row i of slice k on, whose number it returns. The
  // tile has its result at the row's first tap, and is moved on.
  int64_t add_taps(int64_t first, int64_t k, int64_t i, WeightTile& tile) {
    const bool is_part = tile.columns < kLanes;
    int64_t rows = 1;
    for (int64_t j = 0; j < conv_.w.kernel;) {
      const TapBlock& taps = most_taps(conv_, conv_.h.kernel - i, conv_.w.kernel - j, is_part);
      taps.sum[is_part](conv_, first, {k, i, j}, tile);
      tile.out += taps.rows * taps.columns * conv_.out_c;
      rows = taps.rows;
      j += taps.columns;
    }
    return rows;
  }

  // Adds the products of so many rows, from those of `tile` on.
  void add_rows(const WeightTile& tile, int64_t rows) {
    for_each_tile(rows, [&](int64_t top, int64_t m) {
      WeightTile at_top = tile;
      if (top > 0) at_top.ahead = ahead_of(kZeros, 0);
      at_top.rows += top;
      at_top.out += top * conv_.out_c;
      weight_function(m, tile.columns)(at_top);
    });
  }

  const Conv& conv_;
  const WeightPlan& plan_;
  const WeightJob& job_;
  const WeightUnit unit_;
  const bool grouped_, depthwise_;
  const int64_t taps_, tap_floats_;  // from one tap of a window to the next
  const bool whole_;                 // rows of windows lie in one piece
  const bool from_image_;            // and are read where they lie
  const WindowCopy windows_;
  float *const rows_, *const panel_, *const result_;
};

}  // namespace
}  // namespace resfuse
