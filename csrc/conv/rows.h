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
        strip_(keeps_state(job.operands) ? kLanes : job.plan.direct.strip) {}

  void run(int64_t block, int64_t begin, int64_t end) {
    double* const sums = job_.operands.sums;
    for (int64_t channel = first_; channel < last_; channel += strip_) {
      const Panel strip{0, channel, smaller(strip_, last_ - channel)};
      if (sums) clear_sums(scratch_.sums);
      run_strip(strip, begin, end);
      if (sums) store_sums(conv_, strip, scratch_.sums, sums, block);
    }
  }

 private:
  // Whether something is kept for each channel: sums, or a program's numbers. There is room for one
  // vector of it.
  static bool keeps_state(const Operands& operands) {
    const Program* program = operands.epilogue ? operands.epilogue->program : nullptr;
    for (int i = 0; program && i < program->operands; ++i)
      if (program->operand[i].per != Per::kOutput) return true;
    return operands.sums != nullptr;
  }

  void run_strip(const Panel& strip, int64_t begin, int64_t end) {
    Output output(job_, vector_of(strip, 0), scratch_.registers);
    for_each_row(conv_, begin, end, [&](int64_t pixel, int64_t count) {
      point_at_rows(pixel / conv_.w.out);
      const auto compute = [&](int64_t first, int64_t m) {
        run_tile(strip, pixel + first, pixel % conv_.w.out + first, m, output);
      };
      for_each_tile(count, compute, highest_along_row(conv_.w.kernel));
    });
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

  // Computes m pixels, `pixel` of all and the others, from column x on.
  void run_tile(const Panel& strip, int64_t pixel, int64_t x, int64_t m, Output& output) {
    const int64_t left = x * conv_.w.stride - conv_.w.pad;
    const int64_t width = (m - 1) * conv_.w.stride + conv_.w.kernel;
    const int64_t first = -left, last = conv_.w.in - left;  // columns in the image
    const AlongRows along{rows_, conv_.in_c, before(first) | ~before(last), kZeros};
    const TileFunction compute = row_tile_function(conv_.w, m);
    for (int64_t n = 0, count; n < strip.columns; n += count * kLanes) {
      const Panel vector = vector_of(strip, n);
      const bool readable = is_readable(vector, first, last, width);
      // Whole vectors follow each other in one call.
      const int64_t whole = readable ? (strip.columns - n) / kLanes : 1;
      count = whole > 0 ? whole : 1;
      if (!readable) {
        DirectPanel(job_, scratch_, windows_, vector, weights_of(vector)).run(pixel, pixel + m);
        continue;
      }
      output.move_to(vector);
      Tile tile = tile_at(pixel, output, along);
      tile.count = count;
      tile.panel = weights_of(vector);
      tile.vector = (vector.channel - first_) / kLanes;
      tile.offset = left * conv_.in_c + vector.channel;
      compute(tile);
    }
  }

  // The bits of all columns before this one.
  static uint32_t before(int64_t column) {
    if (column >= 32) return ~uint32_t{0};
    return column > 0 ? (uint32_t{1} << column) - 1 : 0;
  }

  Tile tile_at(int64_t pixel, const Output& output, const AlongRows& along) {
    const Scatter& scatter = job_.scatter;
    Tile tile{};
    tile.runs = conv_.d.kernel * conv_.h.kernel;
    tile.acc = scratch_.registers.slots[0];
    tile.first = tile.last = true;
    tile.output = &output;
    tile.pixel = scatter.dense ? pixel * conv_.out_c : place_of_output(conv_, scatter, pixel);
    tile.pixel_stride = scatter.dense ? conv_.out_c : scatter.pixel;
    tile.sums = job_.operands.sums ? &scratch_.sums : nullptr;
    tile.along = &along;
    tile.panel_stride = job_.plan.layout.panel_stride();
    return tile;
  }

  const float* weights_of(const Panel& vector) const {
    const int64_t from_first = vector.channel - first_;
    return packed_ + from_first / kNR * job_.plan.layout.panel_stride() + from_first % kNR;
  }

  // Whether a tile may read whole vectors: the last one of a pixel's channels comes with what
  // follows, and after the last pixel of all nothing does. Nor does it look for the image's edges
  // in more columns than a window has, less one, at either end.
  bool is_readable(const Panel& vector, int64_t first, int64_t last, int64_t width) const {
    if (first >= conv_.w.kernel || width - last >= conv_.w.kernel) return false;
    if (!last_row_ || vector.columns == kLanes) return true;
    const int64_t column = smaller(last, width) - first - 1;
    return last_row_ + column * conv_.in_c + vector.channel + kLanes <=
           job_.operands.in + conv_.in_floats();
  }

  const Job& job_;
  const Conv& conv_;
  Scratch& scratch_;
  const BlockWindows& windows_;
  const float* const packed_;           // the unit's first panel
  const int64_t first_, last_, strip_;  // channels
  ImageRow rows_[kMaxPassRuns];
  const float* last_row_;  // of those in the image, or null
};

}  // namespace
}  // namespace resfuse
