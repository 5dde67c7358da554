// Depthwise convolution along the rows of outputs, of a unit's panels on a block of pixels:
//
//   for each strip of channels                 all, or the rows that a window meets stay in L1
//     for each row of outputs
//       for each tile of it                    as many neighbours as there are registers for
//         for each vector of the strip         (AlongRow: M accumulators in registers)
//
// The vectors of a strip follow each other within a tile because pixels of many channels are a page
// apart: one vector at a time would look up the page of each load and store anew. Rows go through
// whole, for processors foresee what follows: tiles one below the other, whose windows share rows
// that are in L1, took 0.93 to 1.16 times as long, and in strips for which L1 has room 0.96 to 1.4.
// Register tiles of two rows of outputs, 7 neighbours each with 32 registers, took 0.94 to 1.09 of
// the time. Images whose panels lie apart, as an expanding convolution before could write them,
// took 0.9 where they are 28 wide or more and up to 1.2 below: MobileNets 1.00. (A Zen 4.)

#pragma once

#include "conv/direct_panel.h"
#include "conv/row_tile.h"

namespace resfuse {
namespace {

class DepthwiseRows {
 public:
  DepthwiseRows(const Job& job, Scratch& scratch, const BlockWindows& windows, const Unit& unit,
                const float* packed)
      : job_(job),
        conv_(job.conv),
        scratch_(scratch),
        windows_(windows),
        packed_(packed),
        first_(unit.first_panel * kNR),
        last_(smaller(unit.last_panel * kNR, job.conv.out_c)),
        strip_(channels_of_strip(job)),
        joins_part_(!job.operands.sums && is_compiled(program_of(job))),
        panel_stride_(job.plan.layout.panel_stride()) {}

  void run(int64_t block, int64_t begin, int64_t end) {
    double* const sums = job_.operands.sums;
    for (Panel panel = strip_at(first_); panel.columns > 0;
         panel = strip_at(panel.channel + panel.columns)) {
      if (sums) clear_sums(panel, scratch_.sums);
      run_strip(panel, begin, end);
      if (sums) store_sums(conv_, panel, scratch_.sums, sums, block);
    }
  }

 private:
  // Vectors of channels, of which the last may be a part if no program ends it; or else whole ones,
  // or what is left of one. Tiles of the same strip differ in little.
  struct Strip {
    Panel panel;
    Output output;
    AlongRows along;
    Tile tile;
  };

  static const Program* program_of(const Job& job) {
    return job.operands.epilogue ? job.operands.epilogue->program : nullptr;
  }

  // As the plan has it, unless something is kept for each channel for which there is less room:
  // sums, or a program's numbers, of one vector.
  static int64_t channels_of_strip(const Job& job) {
    const Program* const program = program_of(job);
    for (int i = 0; program && i < program->operands; ++i)
      if (program->operand[i] != Per::kOutput) return kLanes;
    const int64_t strip = job.plan.direct.strip;
    return job.operands.sums ? smaller(strip, kMaxSums * kLanes) : strip;
  }

  // The strip that begins with a channel; without channels behind the last. A part of a vector is
  // none of its own where it can join others.
  Panel strip_at(int64_t channel) const {
    const int64_t left = last_ - channel, columns = smaller(strip_, left);
    if (joins_part_) return {0, channel, left - columns < kLanes ? left : columns};
    return {0, channel, columns < kLanes ? columns : whole_vectors(columns)};
  }

  void run_strip(const Panel& panel, int64_t begin, int64_t end) {
    Strip strip{panel,
                Output(job_, panel, 1, scratch_.registers, numbers_),
                {rows_, conv_.in_c, 0, kZeros},
                {}};
    prepare(strip);
    for_each_row(conv_, begin, end, [&](int64_t pixel, int64_t count) {
      point_at_rows(pixel / conv_.w.out);
      const auto compute = [&](int64_t first, int64_t m, int64_t tiles) {
        const TileFunction function = row_tile_function(conv_.w, m);
        for (int64_t end_of = first + tiles * m; first < end_of; first += m)
          run_tile(strip, function, pixel + first, pixel % conv_.w.out + first, m);
      };
      for_each_height(count, compute, highest_along_row(conv_.w.kernel, conv_.w.stride));
    });
  }

  // What all tiles of a strip have in common.
  void prepare(Strip& strip) {
    Tile& tile = strip.tile;
    tile.runs = conv_.d.kernel * conv_.h.kernel;
    tile.acc = scratch_.registers.slots[0];
    tile.output = &strip.output;
    tile.pixel_stride = job_.scatter.dense ? conv_.out_c : job_.scatter.pixel;
    tile.sums = job_.operands.sums ? scratch_.sums : nullptr;
    tile.along = &strip.along;
    tile.panel_stride = panel_stride_;
    tile.set_in_memory(1, has_sums_in_registers(conv_.w.kernel));
  }

  static Panel vector_of(const Panel& strip, int64_t n) {
    return {0, strip.channel + n, smaller(kLanes, strip.columns - n)};
  }

  // Points at the rows of the image that a row of outputs meets.
  void point_at_rows(int64_t row) {
    const Corner corner = corner_of_row(conv_, row);
    ImageRow* to = rows_;
    last_row_ = nullptr;
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t i = 0; i < conv_.h.kernel; ++i) {
        const Row met = row_of_window(conv_, corner, k, i);
        const float* const at = job_.operands.in + met.at;
        *to++ = met.inside ? ImageRow{at, 1} : ImageRow{kZeros, 0};
        if (met.inside) last_row_ = at;
      }
  }

  // Computes m pixels, `pixel` of all and the others, from column x on: the strip's vectors follow
  // each other in one call.
  void run_tile(Strip& strip, TileFunction compute, int64_t pixel, int64_t x, int64_t m) {
    const int64_t left = x * conv_.w.stride - conv_.w.pad;
    const int64_t width = (m - 1) * conv_.w.stride + conv_.w.kernel;
    const int64_t first = -left, last = conv_.w.in - left;  // columns in the image
    const Panel& panel = strip.panel;
    const int64_t columns = readable(panel, first, last, width);
    if (columns < panel.columns) run_by_pointers(panel, columns, pixel, m);
    if (columns == 0) return;
    strip.along.outside = before(first) | ~before(last);
    Tile& tile = strip.tile;
    tile.count = ceil_div(columns, kLanes);
    tile.pixel =
        job_.scatter.dense ? pixel * conv_.out_c : place_of_output(conv_, job_.scatter, pixel);
    tile.panel = weights_of(panel);
    tile.vector = (panel.channel - first_) / kLanes;
    tile.offset = left * conv_.in_c + panel.channel;
    tile.channel = 0;
    compute(tile);
  }

  // The bits of all columns before this one.
  static uint32_t before(int64_t column) {
    if (column >= 32) return ~uint32_t{0};
    return column > 0 ? (uint32_t{1} << column) - 1 : 0;
  }

  void run_by_pointers(const Panel& strip, int64_t from, int64_t pixel, int64_t m) {
    for (int64_t n = from; n < strip.columns; n += kLanes) {
      const Panel vector = vector_of(strip, n);
      DirectPanel(job_, scratch_, windows_, vector, weights_of(vector), {}, n / kLanes)
          .run(pixel, pixel + m);
    }
  }

  const float* weights_of(const Panel& vector) const {
    const int64_t from_first = vector.channel - first_;
    return packed_ + from_first / kNR * panel_stride_ + from_first % kNR;
  }

  static int64_t whole_vectors(int64_t columns) { return columns / kLanes * kLanes; }

  // The columns that a tile may read in whole vectors: the last one of a pixel's channels comes
  // with what follows, and after the last pixel of all nothing does. Nor does it look for the
  // image's edges in more than half of a window's columns at either end, as many as the usual
  // padding has.
  int64_t readable(const Panel& strip, int64_t first, int64_t last, int64_t width) const {
    if (first > conv_.w.kernel / 2 || width - last > conv_.w.kernel / 2) return 0;
    if (!last_row_ || strip.columns % kLanes == 0) return strip.columns;
    const int64_t whole = whole_vectors(strip.columns);
    const int64_t column = smaller(last, width) - first - 1;
    const float* const end = last_row_ + column * conv_.in_c + strip.channel + whole + kLanes;
    return end <= job_.operands.in + conv_.in_floats() ? strip.columns : whole;
  }

  const Job& job_;
  const Conv& conv_;
  Scratch& scratch_;
  const BlockWindows& windows_;
  const float* const packed_;           // the unit's first panel
  const int64_t first_, last_, strip_;  // channels
  const bool joins_part_;
  const int64_t panel_stride_;
  ImageRow rows_[kMaxPassRuns];
  const float* last_row_;                    // of those in the image, or null
  float numbers_[2 * (kMaxStrip + kLanes)];  // copies of a strip's, with a part that joins it
};

}  // namespace
}  // namespace resfuse
