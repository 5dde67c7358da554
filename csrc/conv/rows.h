// Depthwise convolution along the rows of outputs, of a unit's panels on a block of pixels:
//
//   for each strip of channels                 the rows that a window meets stay in L1
//     for each row of outputs
//       for each tile of it                    as many neighbours as there are registers for
//         for each vector of the strip         (AlongRow: M accumulators in registers)
//
// The vectors of a strip follow each other within a tile because pixels of many channels are a page
// apart: one vector at a time would look up the page of each load and store anew.

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
  // Whole vectors of channels, or what is left of one. Tiles of the same strip differ in little.
  struct Strip {
    Panel panel;
    Output output;
    AlongRows along;
    Tile tile;
  };

  // As the plan has it, unless something is kept for each channel for which there is less room:
  // sums, or a program's numbers, of one vector.
  static int64_t channels_of_strip(const Job& job) {
    const Program* const program = job.operands.epilogue ? job.operands.epilogue->program : nullptr;
    for (int i = 0; program && i < program->operands; ++i)
      if (program->operand[i].per != Per::kOutput) return kLanes;
    const int64_t strip = job.plan.direct.strip;
    return job.operands.sums ? smaller(strip, kMaxSums * kLanes) : strip;
  }

  // The strip that begins with a channel; without channels behind the last.
  Panel strip_at(int64_t channel) const {
    const int64_t columns = smaller(strip_, last_ - channel);
    return {0, channel, columns < kLanes ? columns : columns / kLanes * kLanes};
  }

  void run_strip(const Panel& panel, int64_t begin, int64_t end) {
    Strip strip{panel,
                Output(job_, vector_of(panel, 0), scratch_.registers),
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
      for_each_height(count, compute, highest_along_row(conv_.w.kernel));
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
    if (!is_readable(panel, first, last, width)) return run_by_pointers(panel, pixel, m);
    strip.along.outside = before(first) | ~before(last);
    Tile& tile = strip.tile;
    tile.count = ceil_div(panel.columns, kLanes);
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

  void run_by_pointers(const Panel& strip, int64_t pixel, int64_t m) {
    for (int64_t n = 0; n < strip.columns; n += kLanes) {
      const Panel vector = vector_of(strip, n);
      DirectPanel(job_, scratch_, windows_, vector, weights_of(vector), {}, n / kLanes)
          .run(pixel, pixel + m);
    }
  }

  const float* weights_of(const Panel& vector) const {
    const int64_t from_first = vector.channel - first_;
    return packed_ + from_first / kNR * panel_stride_ + from_first % kNR;
  }

  // Whether a tile may read whole vectors: the last one of a pixel's channels comes with what
  // follows, and after the last pixel of all nothing does. Nor does it look for the image's edges
  // in more than half of a window's columns at either end, as many as the usual padding has.
  bool is_readable(const Panel& strip, int64_t first, int64_t last, int64_t width) const {
    if (first > conv_.w.kernel / 2 || width - last > conv_.w.kernel / 2) return false;
    if (!last_row_ || strip.columns % kLanes == 0) return true;
    const int64_t column = smaller(last, width) - first - 1;
    return last_row_ + column * conv_.in_c + strip.channel + kLanes <=
           job_.operands.in + conv_.in_floats();
  }

  const Job& job_;
  const Conv& conv_;
  Scratch& scratch_;
  const BlockWindows& windows_;
  const float* const packed_;           // the unit's first panel
  const int64_t first_, last_, strip_;  // channels
  const int64_t panel_stride_;
  ImageRow rows_[kMaxPassRuns];
  const float* last_row_;  // of those in the image, or null
};

}  // namespace
}  // namespace resfuse
