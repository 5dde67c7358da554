// Direct convolution of a unit, once, for any vector width; grouped convolution takes the same way,
// with panels of whole groups whose runs are taps (grouped.h).
//
//   for each block of pixels                                     (Direct::run)
//     for each panel of NR = 2 vectors of output channels
//       for each tile of up to MR pixels                         (DirectPanel::run)
//         for each pass over the window                          (point: MR pointers a run)
//           for each run, for each k in it                       (Tile: MR x NR in registers)
//             acc[m][:] += in[m][k] * panel[k][:]
//         out = E(scale * acc + shift)                           (the only store of the output)
//
// README.md in the folder above draws it and counts the registers.

#pragma once

#include "conv/block_windows.h"
#include "conv/grouped.h"
#include "conv/scratch.h"

namespace resfuse {
namespace {

// A panel on the pixels [begin, end) of a block, whose windows are prepared.
class DirectPanel {
 public:
  DirectPanel(const Job& job, Scratch& scratch, const BlockWindows& windows, int64_t panel,
              const float* packed)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scratch_(scratch),
        windows_(windows),
        packed_(packed),
        panel_(panel_at(conv_, plan_.layout, panel)),
        vectors_(panel_.columns <= kLanes ? 1 : kVectors),
        first_input_(plan_.layout.grouped ? panel_.channel : panel_.group * conv_.group_in()),
        output_(conv_, operands_, panel_, scratch.registers) {}

  void run(int64_t begin, int64_t end) {
    switch (plan_.direct.inputs) {
      case Inputs::kPointwise:
        return run_whole(begin, end, operands_.in + begin * conv_.in_c, conv_.in_c);
      case Inputs::kGathered:
        return run_whole(begin, end, windows_.gathered(), plan_.direct.pixel_floats);
      case Inputs::kShared:
        return is_cut() ? run_passes(begin, end) : run_shared(begin, end);
      case Inputs::kWindows:
        return run_passes(begin, end);
    }
  }

  // Writes the sums as those of the block.
  void write_sums(int64_t block) {
    store_sums(conv_, panel_, scratch_.sums, operands_.sums, block);
  }

 private:
  // Reads each window in one run, `stride` floats from the last.
  void run_whole(int64_t begin, int64_t end, const float* in, int64_t stride) {
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      tile.runs = 1;
      tile.length = conv_.reduction();
      tile.first = tile.last = true;
      for (int64_t p = 0; p < m; ++p) scratch_.rows[p] = in + (first + p) * stride;
      tile_function<Dense>(m, vectors_)(tile);
    });
  }

  void run_shared(int64_t begin, int64_t end) {
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      tile.rows = windows_.rows(first);
      tile.offset = first_input_;
      tile.runs = plan_.direct.passes.runs;
      tile.length = conv_.group_in();
      tile.first = tile.last = true;
      tile_for(m)(tile);
    });
  }

  void run_passes(int64_t begin, int64_t end) {
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      Corner corners[kMR];
      locate(conv_, begin + first, m, corners);
      run_passes_of_tile(corners, m, tile);
    });
  }

  void run_passes_of_tile(const Corner* corners, int64_t m, Tile& tile) {
    const Passes& passes = plan_.direct.passes;
    const TileFunction compute = tile_for(m);
    tile.first = true;
    for (int64_t run = 0; run < passes.runs; run += passes.pass_runs)
      for (int64_t offset = 0; offset < passes.run_length; offset += passes.pass_length) {
        const int64_t length = smaller(passes.pass_length, passes.run_length - offset);
        tile.runs = smaller(passes.pass_runs, passes.runs - run);
        tile.length = plan_.layout.grouped ? conv_.group_in() : length;
        tile.last = run + tile.runs == passes.runs && offset + length == passes.run_length;
        for (int64_t p = 0; p < m; ++p) point(corners[p], p, m, run, offset, tile, length);
        compute(tile);
        tile.panel += tile.runs * tile.length * kNR;
        tile.first = false;
      }
  }

  Tile tile_at(int64_t pixel, int64_t m) {
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

  // Says where the outputs of m pixels go.
  const int64_t* scatter(int64_t pixel, int64_t m) {
    const Scatter& to = *operands_.scatter;
    for (int64_t i = 0; i < m; ++i, ++pixel) {
      const int64_t row = pixel / conv_.w.out;
      scratch_.pixels[i] = to.first + pixel % conv_.w.out * to.pixel + row % conv_.h.out * to.row +
                           row / conv_.h.out * to.image;
    }
    return scratch_.pixels;
  }

  TileFunction tile_for(int64_t m) const {
    return plan_.layout.grouped ? grouped_tile_function(conv_.group_in(), m, vectors_)
                                : tile_function<Dense>(m, vectors_);
  }

  // Points pixel p of m at `length` floats of each of the pass's runs, from `offset` on.
  void point(const Corner& corner, int64_t p, int64_t m, int64_t run, int64_t offset,
             const Tile& tile, int64_t length) {
    // Runs are rows of the window, or with groups its pixels. Locals, for rows might alias members.
    const int64_t taps = conv_.groups == 1 ? 1 : conv_.w.kernel;
    const int64_t in_c = conv_.in_c, row_floats = conv_.w.in * in_c, runs = tile.runs;
    int64_t i = run / taps, j = run % taps;
    int64_t y = corner.y + i, begin = (corner.x + j) * in_c + first_input_ + offset;
    // Indices, which unlike pointers may lie outside the image.
    int64_t row = (corner.image * conv_.h.in + y) * row_floats;
    const float* const in = operands_.in;
    const bool inside = corner.inside && !is_cut();
    const int64_t real = plan_.layout.grouped ? panel_.columns : length;
    const float** to = scratch_.rows + p;
    float* const copies = windows_.rest();
    for (int64_t slot = 0; slot < runs; ++slot, to += m) {
      *to = inside ? in + (row + begin)
                   : point_at_run(conv_, in, row, y, {begin, real, length},
                                  copies + (slot * kMR + p) * length);
      begin += in_c;
      if (++j < taps) continue;
      begin -= taps * in_c;
      row += row_floats;
      j = 0, ++y;
    }
  }

  // Whole vectors of whole groups would read beyond the last channel.
  bool is_cut() const { return plan_.layout.grouped && panel_.columns < kNR; }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Scratch& scratch_;
  const BlockWindows& windows_;
  const float* const packed_;
  const Panel panel_;
  const int64_t vectors_;
  const int64_t first_input_;
  const Output output_;
};

class Direct {
 public:
  Direct(const Job& job, Memory& memory, const Unit& unit)
      : job_(job),
        memory_(memory),
        unit_(unit),
        packed_(pack_unit(job, memory, unit)),
        scratch_(lay_out(job.plan, memory.bytes)),
        windows_(job, scratch_.work) {}

  void run() {
    for (int64_t block = unit_.first_block; block < unit_.last_block; ++block) run_block(block);
  }

 private:
  void run_block(int64_t block) {
    const int64_t begin = block * job_.plan.blocks.size;
    const int64_t end = smaller(begin + job_.plan.blocks.size, job_.conv.pixels());
    if (replace(memory_.prepared_block, block)) windows_.prepare(begin, end);
    const float* packed = packed_;
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      DirectPanel on_block(job_, scratch_, windows_, panel, packed);
      if (job_.operands.sums) clear_sums(scratch_.sums);
      on_block.run(begin, end);
      if (job_.operands.sums) on_block.write_sums(block);
      packed += job_.plan.layout.panel_floats();
    }
  }

  const Job& job_;
  Memory& memory_;
  const Unit unit_;
  const float* const packed_;
  Scratch& scratch_;
  BlockWindows windows_;
};

}  // namespace
}  // namespace resfuse
