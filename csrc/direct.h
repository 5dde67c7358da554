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

#include "conv.h"
#include "plan.h"
#include "scratch.h"
#include "tile.h"

namespace resfuse {
namespace {

// Where a pixel's window begins; negative in the padding.
struct Corner {
  int64_t image, y, x;
};

// One unit: its panel of output channels over its blocks of pixels.
class Direct {
 public:
  Direct(const Job& job, Scratch& scratch, int64_t panel)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scratch_(scratch),
        group_(panel / plan_.panels_per_group),
        channel_(group_ * conv_.group_out() + panel % plan_.panels_per_group * kNR),
        columns_(smaller(kNR, (group_ + 1) * conv_.group_out() - channel_)),
        vectors_(columns_ <= kLanes ? 1 : kVectors),
        output_(operands_, channel_) {}

  // Gathers the panel's columns of the kernel, padded with zeros.
  void pack() const {
    float* to = scratch_.panel;
    for (int64_t k = 0; k < conv_.reduction(); ++k)
      for (int64_t n = 0; n < vectors_; ++n, to += kLanes)
        store(to, load_some(operands_.kernel + k * conv_.out_c + channel_ + n * kLanes,
                            columns_ - n * kLanes));
  }

  void run_block(int64_t block) const {
    const int64_t begin = block * plan_.block_size;
    const int64_t end = smaller(begin + plan_.block_size, conv_.pixels());
    for (double (&row)[kNR] : scratch_.sums)
      for (double& sum : row) sum = 0.0;
    for_each_tile(end - begin, [&](int64_t first, int64_t m) { run_tile(begin + first, m); });
    if (operands_.sums) store_sums(block);
  }

 private:
  void store_sums(int64_t block) const {
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t o = 0; o < columns_; ++o)
        operands_.sums[(block * 3 + row) * conv_.out_c + channel_ + o] = scratch_.sums[row][o];
  }

  void run_tile(int64_t pixel, int64_t m) const {
    Corner corners[kMR];
    locate(pixel, m, corners);
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.panel = scratch_.panel;
    tile.acc = scratch_.acc;
    tile.output = &output_;
    tile.pixel = pixel * conv_.out_c;
    tile.pixel_stride = conv_.out_c;
    tile.columns = columns_;
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
        for (int64_t r = 0; r < tile.runs; ++r) point(corners, m, run + r, offset, tile.length, r);
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
        row = copy_window(image_row, begin, length, scratch_.work + (slot * kMR + p) * length);
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
  const int64_t group_, channel_, columns_, vectors_;
  const Output output_;
};

}  // namespace
}  // namespace resfuse
