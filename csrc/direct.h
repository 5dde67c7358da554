// Direct convolution, once, for any vector width: one panel of output channels on blocks of pixels.
//
//   for each block of pixels, for each panel of NR = 2 vectors of output channels
//     for each tile of up to MR pixels
//       for each pass over the window                            (point: MR pointers a run)
//         for each run, for each k in it                         (tile: MR x NR in registers)
//           acc[m][:] += in[m][k] * panel[k][:]
//       out = relu(scale * acc + shift + residual)               (the only store of the output)
//
// README.md in this folder draws it and counts the registers.

#pragma once

#include "conv.h"
#include "lanes.h"
#include "plan.h"
#include "scratch.h"
#include "tile.h"

namespace resfuse {
namespace {

// Where a pixel's window begins, negative in the padding, and whether all of it is in the image.
struct Corner {
  int64_t image, y, x;
  bool inside;
};

class Direct {
 public:
  Direct(const Job& job, Scratch& scratch, int64_t panel, const float* packed)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scratch_(scratch),
        packed_(packed),
        panel_(panel_at(conv_, plan_.layout, panel)),
        vectors_(panel_.columns <= kLanes ? 1 : kVectors),
        first_input_(plan_.layout.lanes ? panel_.channel : panel_.group * conv_.group_in()),
        output_(operands_, panel_.channel) {}

  void run_block(int64_t block) const {
    const int64_t begin = block * plan_.block_size;
    const int64_t end = smaller(begin + plan_.block_size, conv_.pixels());
    for (double (&row)[kNR] : scratch_.sums)
      for (double& sum : row) sum = 0.0;
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first);
      if (plan_.gathers)
        run_gathered(scratch_.work + first * plan_.row_floats, plan_.row_floats, m, tile);
      else if (plan_.pointwise)
        run_gathered(operands_.in + (begin + first) * conv_.in_c, conv_.in_c, m, tile);
      else
        run_passes(begin + first, m, tile);
    });
    if (operands_.sums) store_sums(block);
  }

  // Copies the windows of the block's pixels, side by side, for every panel.
  void gather(int64_t block) const {
    const int64_t begin = block * plan_.block_size;
    const int64_t end = smaller(begin + plan_.block_size, conv_.pixels());
    float* to = scratch_.work;
    for (int64_t pixel = begin; pixel < end; pixel += kMR, to += kMR * plan_.row_floats) {
      Corner corners[kMR];
      const int64_t m = smaller(kMR, end - pixel);
      locate(pixel, m, corners);
      for (int64_t p = 0; p < m; ++p)
        for (int64_t run = 0; run < plan_.runs; ++run)
          gather_run(corners[p], run, to + p * plan_.row_floats + run * plan_.run_length);
    }
  }

 private:
  void store_sums(int64_t block) const {
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t o = 0; o < panel_.columns; ++o)
        operands_.sums[(block * 3 + row) * conv_.out_c + panel_.channel + o] =
            scratch_.sums[row][o];
  }

  Tile tile_at(int64_t pixel) const {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.panel = packed_;
    tile.acc = scratch_.acc;
    tile.output = &output_;
    tile.pixel = pixel * conv_.out_c;
    tile.pixel_stride = conv_.out_c;
    tile.columns = panel_.columns;
    tile.sums = operands_.sums ? scratch_.sums : nullptr;
    return tile;
  }

  // Whole windows, one in a row, `stride` apart.
  void run_gathered(const float* in, int64_t stride, int64_t m, Tile& tile) const {
    tile.runs = 1;
    tile.length = conv_.reduction();
    tile.first = tile.last = true;
    for (int64_t p = 0; p < m; ++p) scratch_.rows[p] = in + p * stride;
    tile_function<Dense>(m, vectors_)(tile);
  }

  void gather_run(const Corner& corner, int64_t run, float* to) const {
    const int64_t y = corner.y + run;
    const float* row = operands_.in + (corner.image * conv_.in_h + y) * conv_.in_w * conv_.in_c;
    const float* from = point_at_edge(row, y, corner.x * conv_.in_c, plan_.run_length, to);
    if (from != to) copy(from, plan_.run_length, to);
  }

  TileFunction tile_for(int64_t m) const {
    return plan_.layout.lanes ? grouped_tile_function(conv_.group_in(), m, vectors_)
                              : tile_function<Dense>(m, vectors_);
  }

  void run_passes(int64_t pixel, int64_t m, Tile& tile) const {
    Corner corners[kMR];
    locate(pixel, m, corners);
    const TileFunction compute = tile_for(m);
    tile.first = true;
    for (int64_t run = 0; run < plan_.runs; run += plan_.pass_runs)
      for (int64_t offset = 0; offset < plan_.run_length; offset += plan_.pass_length) {
        const int64_t length = smaller(plan_.pass_length, plan_.run_length - offset);
        tile.runs = smaller(plan_.pass_runs, plan_.runs - run);
        tile.length = plan_.layout.lanes ? conv_.group_in() : length;
        tile.last = run + tile.runs == plan_.runs && offset + length == plan_.run_length;
        for (int64_t p = 0; p < m; ++p) point(corners[p], p, m, run, offset, tile, length);
        compute(tile);
        tile.panel += tile.runs * tile.length * kNR;
        tile.first = false;
      }
  }

  void locate(int64_t pixel, int64_t m, Corner* corners) const {
    int64_t x = pixel % conv_.out_w;
    int64_t y = pixel / conv_.out_w % conv_.out_h;
    int64_t image = pixel / conv_.out_w / conv_.out_h;
    for (int64_t i = 0; i < m; ++i) {
      const int64_t top = y * conv_.stride_h - conv_.pad_top;
      const int64_t left = x * conv_.stride_w - conv_.pad_left;
      const bool inside = top >= 0 && top + conv_.kernel_h <= conv_.in_h && left >= 0 &&
                          left + conv_.kernel_w <= conv_.in_w;
      corners[i] = {image, top, left, inside};
      if (++x < conv_.out_w) continue;
      x = 0;
      if (++y < conv_.out_h) continue;
      y = 0;
      ++image;
    }
  }

  // Points pixel p of m at `length` floats of each of the pass's runs, from `offset` on.
  void point(const Corner& corner, int64_t p, int64_t m, int64_t run, int64_t offset,
             const Tile& tile, int64_t length) const {
    // Runs are rows of the window, or with groups its pixels. Locals, for rows might alias members.
    const int64_t taps = conv_.groups == 1 ? 1 : conv_.kernel_w;
    const int64_t in_c = conv_.in_c, row_floats = conv_.in_w * in_c, runs = tile.runs;
    int64_t i = run / taps, j = run % taps;
    int64_t y = corner.y + i, begin = (corner.x + j) * in_c + first_input_ + offset;
    const float* row = operands_.in + (corner.image * conv_.in_h + y) * row_floats;
    const bool inside = corner.inside && !panel_is_cut();
    const float** to = scratch_.rows + p;
    for (int64_t slot = 0; slot < runs; ++slot, to += m) {
      *to = inside
                ? row + begin
                : point_at_edge(row, y, begin, length, scratch_.work + (slot * kMR + p) * length);
      begin += in_c;
      if (++j < taps) continue;
      begin -= taps * in_c;
      row += row_floats;
      j = 0, ++y;
    }
  }

  // Lanes would read beyond the last channel.
  bool panel_is_cut() const { return plan_.layout.lanes && panel_.columns < kNR; }

  // Into the image itself, at zeros, or, where the run crosses the left or right edge or the last
  // of the channels, at a padded copy in `to`.
  const float* point_at_edge(const float* row, int64_t y, int64_t begin, int64_t length,
                             float* to) const {
    const int64_t row_floats = conv_.in_w * conv_.in_c;
    const int64_t real = plan_.layout.lanes ? panel_.columns : length;
    if (y < 0 || y >= conv_.in_h || begin + real <= 0 || begin >= row_floats) return kZeros;
    if (begin >= 0 && begin + real <= row_floats && real == length) return row + begin;
    return copy_window(row, begin, real, length, to);
  }

  // Overlapping vectors in place of a scalar remainder.
  static void copy(const float* from, int64_t length, float* to) {
    if (length < kLanes) {
      for (int64_t k = 0; k < length; ++k) to[k] = from[k];
      return;
    }
    for (int64_t k = 0; k + kLanes < length; k += kLanes) store(to + k, load(from + k));
    store(to + length - kLanes, load(from + length - kLanes));
  }

  // `real` floats from `begin` on, those outside the row zero, and zeros up to `length`.
  const float* copy_window(const float* row, int64_t begin, int64_t real, int64_t length,
                           float* to) const {
    const int64_t left = begin < 0 ? -begin : 0;
    const int64_t right = smaller(real, conv_.in_w * conv_.in_c - begin);
    for (int64_t k = 0; k < left; ++k) to[k] = 0.0f;
    for (int64_t k = left; k < right; ++k) to[k] = row[begin + k];
    for (int64_t k = right; k < length; ++k) to[k] = 0.0f;
    return to;
  }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Scratch& scratch_;
  const float* const packed_;
  const Panel panel_;
  const int64_t vectors_, first_input_;
  const Output output_;
};

}  // namespace
}  // namespace resfuse
