// Winograd's minimal filtering F(n x n, 3x3) for n = 5, 4, 3 and 2 (Lavin & Gray 2015), and
// likewise for stride 2 (winograd_strided.h). For n = 4:
//
//   U = G g G^T       each 3x3 kernel g, to 6x6 points                    (transform_weights)
//   V = B^T d B       each 6x6 tile d of inputs, likewise                 (transform_inputs)
//   M[p] = V[p] U[p]  for each point p a matrix product over channels     (multiply)
//   y = A^T M A       4x4 outputs, and the epilogue                       (transform_outputs)
//
// 36 products make 16 outputs where direct convolution takes 144. All four stages stay inside one
// block of tiles, which fits the cache; the products are those of the register tile in tile.h.
// Errors are about 1e-5 of the largest output; NaN and infinity spread over their tile.
//
// Products are added up for some input channels at a time, a pass:
//
//   products M   (points, tiles, NR)
//   inputs V     (passes, points, tiles, channels of a pass)
//   weights U    (points of a kernel, channels of a pass, NR), of one pass of one panel at a time,
//                or of all passes of all the unit's panels, where they are resident

#pragma once

#include "conv/scratch.h"
#include "conv/winograd_strided.h"
#include "conv/winograd_tile.h"

namespace resfuse {
namespace {

template <typename F>
class Winograd {
  static constexpr int kOutput = F::kOutput, kInput = F::kInput, kPoints = kInput * kInput;
  // With stride 2, the last point of a kernel's side serves for all odd inputs.
  static constexpr int kKernel = kOutput + 2, kKernelPoints = kKernel * kKernel;

 public:
  Winograd(const Job& job, Memory& memory, const Unit& unit)
      : conv_(job.conv),
        plan_(job.plan),
        winograd_(job.plan.winograd),
        tiling_(winograd_.tiling),
        operands_(job.operands),
        memory_(memory),
        scratch_(lay_out(job.plan, memory.bytes)),
        unit_(unit),
        packed_(pack_unit(job, memory, unit)),
        passes_(ceil_div(conv_.in_c, winograd_.pass_channels)),
        inputs_point_(plan_.blocks.size * winograd_.pass_channels + kWinogradPad),
        products_point_(plan_.blocks.size * kNR + kWinogradPad),
        weights_point_(winograd_.pass_channels * kNR + kWinogradPad),
        products_(scratch_.work),
        weights_(products_ + kPoints * products_point_),
        inputs_(weights_ + kKernelPoints * weights_point_ *
                               (winograd_.resident ? plan_.unit_panels.size * passes_ : 1)) {}

  void run() {
    if (winograd_.resident && replace(memory_.transformed_panel, unit_.first_panel))
      for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel)
        for (int64_t pass = 0; pass < passes_; ++pass) transform_weights(panel, pass);
    for (int64_t block = unit_.first_block; block < unit_.last_block; ++block) run_block(block);
  }

 private:
  void run_block(int64_t block) {
    const int64_t first = block * plan_.blocks.size;
    const int64_t tiles = smaller(plan_.blocks.size, conv_.batch * tiling_.h * tiling_.w - first);
    if (replace(memory_.prepared_block, block))
      for (int64_t t = 0; t < tiles; ++t) transform_inputs_at(first + t, t);
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      for (int64_t pass = 0; pass < passes_; ++pass) {
        if (!winograd_.resident) transform_weights(panel, pass);
        multiply(panel, pass, tiles);
      }
      finish_panel(panel, block, first, tiles);
    }
  }

  void finish_panel(int64_t panel, int64_t block, int64_t first, int64_t tiles) {
    const Panel span = panel_at(conv_, plan_.layout, panel);
    const Output output(operands_, span.channel);
    if (operands_.sums) clear_sums(scratch_.sums);
    for (int64_t t = 0; t < tiles; ++t) transform_outputs(output, first + t, t, span.columns);
    if (operands_.sums) store_sums(conv_, span, scratch_.sums, operands_.sums, block);
  }

  TilePosition locate(int64_t tile) const { return locate_tile(tile, tiling_); }

  // The point of a kernel that meets this point of the inputs.
  static int64_t kernel_point(int64_t point) {
    return smaller(point / kInput, kKernel - 1) * kKernel + smaller(point % kInput, kKernel - 1);
  }

  // The channels of a pass, from the first to that of the next.
  int64_t first_channel(int64_t pass) const { return pass * winograd_.pass_channels; }
  int64_t channels(int64_t pass) const {
    return smaller(winograd_.pass_channels, conv_.in_c - first_channel(pass));
  }

  float* weights(int64_t panel, int64_t pass) const {
    const int64_t index = winograd_.resident ? (panel - unit_.first_panel) * passes_ + pass : 0;
    return weights_ + index * kKernelPoints * weights_point_;
  }
  float* inputs(int64_t pass) const { return inputs_ + pass * kPoints * inputs_point_; }

  // Not inlined: a compiler may fuse each copy's multiply-adds in another way, and then the bits
  // would depend on what is resident.
  __attribute__((noinline)) void transform_weights(int64_t panel, int64_t pass) {
    const int64_t tap = conv_.in_c * kNR;
    const float* from = packed_ + (panel - unit_.first_panel) * plan_.layout.panel_stride() +
                        first_channel(pass) * kNR;
    float* to = weights(panel, pass);
    for (int64_t n = 0; n < channels(pass) * kNR; n += kLanes)
      transform_square<F::kernel, 3, kKernel>(
          [&](int i, int j) { return load(from + (i * 3 + j) * tap + n); },
          [&](int i, int j, Vec u) { store(to + (i * kKernel + j) * weights_point_ + n, u); });
  }

  void transform_inputs_at(int64_t tile, int64_t t) {
    const float* in[kInput][kInput];
    point_at_inputs<F>(conv_, operands_.in, locate(tile), in);
    for (int64_t pass = 0; pass < passes_; ++pass)
      transform_inputs<F>(in, first_channel(pass), channels(pass), inputs_point_,
                          inputs(pass) + t * channels(pass));
  }

  // Adds the products of a pass.
  void multiply(int64_t panel, int64_t pass, int64_t tiles) {
    const int64_t length = channels(pass);
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.runs = 1;
    tile.length = length;
    tile.first = pass == 0;
    for (int64_t point = 0; point < kPoints; ++point) {
      tile.panel = weights(panel, pass) + kernel_point(point) * weights_point_;
      const float* in = inputs(pass) + point * inputs_point_;
      float* products = products_ + point * products_point_;
      for_each_tile(tiles, [&](int64_t first, int64_t m) {
        for (int64_t i = 0; i < m; ++i) scratch_.rows[i] = in + (first + i) * length;
        tile.acc = products + first * kNR;
        tile_function<Dense>(m, kVectors)(tile);
      });
    }
  }

  void transform_outputs(const Output& output, int64_t tile, int64_t t, int64_t columns) {
    const TilePosition at = locate(tile);
    const float* from = products_ + t * kNR;
    for (int64_t n = 0; n < columns; n += kLanes) {
      Vec inside[kOutput * kOutput];
      inside[0] = Vec{};  // compilers do not see that it always gets a value
      int count = 0;
      transform_square<F::output, kInput, kOutput>(
          [&](int i, int j) { return load(from + (i * kInput + j) * products_point_ + n); },
          [&](int i, int j, Vec y) {
            if (at.y + i >= conv_.h.out || at.x + j >= conv_.w.out) return;
            const int64_t row = (at.image * conv_.h.out + at.y + i) * conv_.w.out;
            finish_vector(output, (row + at.x + j) * conv_.out_c, n, columns - n, y);
            if (operands_.sums) inside[count++] = y;
          });
      if (operands_.sums) add_to_sums(inside, count, scratch_.sums, n);
    }
  }

  const Conv& conv_;
  const Plan& plan_;
  const WinogradPlan& winograd_;
  const Tiling& tiling_;
  const Operands& operands_;
  Memory& memory_;
  Scratch& scratch_;
  const Unit unit_;
  const float* const packed_;
  const int64_t passes_;
  const int64_t inputs_point_, products_point_, weights_point_;  // floats from point to point
  float *const products_, *const weights_, *const inputs_;
};

// Calls `function` with the transforms of so many outputs a side.
template <typename Function>
inline void with_transforms(int64_t stride, int64_t outputs, Function function) {
  if (stride == 2) return outputs == 4 ? function(Strided<Even4>{}) : function(Strided<Even2>{});
  if (outputs == 5) return function(F5{});
  with_outputs(outputs, function);
}

}  // namespace
}  // namespace resfuse
