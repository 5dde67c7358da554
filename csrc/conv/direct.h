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

#include "base/scratch.h"
#include "conv/block_windows.h"
#include "conv/conv.h"
#include "conv/lanes.h"
#include "conv/plan.h"
#include "conv/tile.h"

namespace resfuse {
namespace {

class Direct {
 public:
  // `windows` are those of the block that will be run.
  Direct(const Job& job, Scratch& scratch, const BlockWindows& windows, int64_t panel,
         const float* packed)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scratch_(scratch),
        packed_(packed),
        panel_(panel_at(conv_, plan_.layout, panel)),
        vectors_(panel_.columns <= kLanes ? 1 : kVectors),
        windows_(windows),
        first_input_(plan_.layout.lanes ? panel_.channel : panel_.group * conv_.group_in()),
        output_(operands_, panel_.channel) {}

  void run_block(int64_t block) const {
    const int64_t begin = block * plan_.block_size;
    const int64_t end = smaller(begin + plan_.block_size, conv_.pixels());
    if (operands_.sums) clear_sums(scratch_.sums);
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      if (plan_.gathers)
        run_gathered(windows_.gathered(first), plan_.row_floats, m, tile);
      else if (plan_.pointwise)
        run_gathered(operands_.in + (begin + first) * conv_.in_c, conv_.in_c, m, tile);
      else if (plan_.shares_rows && !panel_is_cut())
        run_shared(first, m, tile);
      else
        run_passes(begin + first, m, tile);
    });
    if (operands_.sums) store_sums(conv_, panel_, scratch_.sums, operands_.sums, block);
  }

 private:
  Tile tile_at(int64_t pixel, int64_t m) const {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.panel = packed_;
    tile.acc = scratch_.acc;
    tile.output = &output_;
    tile.pixel = pixel * conv_.out_c;
    tile.pixel_stride = conv_.out_c;
    if (operands_.scatter) tile.pixels = scatter(pixel, m);
    tile.columns = panel_.columns;
    tile.sums = operands_.sums ? &scratch_.sums : nullptr;
    return tile;
  }

  // Where the outputs of m pixels go.
  const int64_t* scatter(int64_t pixel, int64_t m) const {
    const Scatter& to = *operands_.scatter;
    for (int64_t i = 0; i < m; ++i, ++pixel) {
      const int64_t row = pixel / conv_.out_w;
      scratch_.pixels[i] = to.first + pixel % conv_.out_w * to.pixel + row % conv_.out_h * to.row +
                           row / conv_.out_h * to.image;
    }
    return scratch_.pixels;
  }

  // Whole windows, one in a row, `stride` apart.
  void run_gathered(const float* in, int64_t stride, int64_t m, Tile& tile) const {
    tile.runs = 1;
    tile.length = conv_.reduction();
    tile.first = tile.last = true;
    for (int64_t p = 0; p < m; ++p) scratch_.rows[p] = in + p * stride;
    tile_function<Dense>(m, vectors_)(tile);
  }

  TileFunction tile_for(int64_t m) const {
    return plan_.layout.lanes ? grouped_tile_function(conv_.group_in(), m, vectors_)
                              : tile_function<Dense>(m, vectors_);
  }

  void run_shared(int64_t first, int64_t m, Tile& tile) const {
    tile.rows = windows_.rows(first);
    tile.offset = first_input_;
    tile.runs = plan_.runs;
    tile.length = conv_.group_in();
    tile.first = tile.last = true;
    tile_for(m)(tile);
  }

  void run_passes(int64_t pixel, int64_t m, Tile& tile) const {
    Corner corners[kMR];
    locate(conv_, pixel, m, corners);
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
    const int64_t real = plan_.layout.lanes ? panel_.columns : length;
    const float** to = scratch_.rows + p;
    float* const copies = windows_.rest();
    for (int64_t slot = 0; slot < runs; ++slot, to += m) {
      *to = inside ? row + begin
                   : point_at_run(conv_, row, y, {begin, real, length},
                                  copies + (slot * kMR + p) * length);
      begin += in_c;
      if (++j < taps) continue;
      begin -= taps * in_c;
      row += row_floats;
      j = 0, ++y;
    }
  }

  // Lanes would read beyond the last channel.
  bool panel_is_cut() const { return plan_.layout.lanes && panel_.columns < kNR; }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Scratch& scratch_;
  const float* const packed_;
  const Panel panel_;
  const int64_t vectors_;
  const BlockWindows& windows_;
  const int64_t first_input_;
  const Output output_;
};

}  // namespace
}  // namespace resfuse
