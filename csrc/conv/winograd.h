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
// for some input channels at a time, a part:
//
//   weights U    (points of a kernel, channels of a part, NR)
//   inputs V     (parts, points, tiles, channels of a part)
//   products M   (points, tiles, NR)

#pragma once

#include "base/scratch.h"
#include "conv/tile.h"
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
  // `packed` holds the panels of `unit`.
  Winograd(const Job& job, Memory& memory, const Unit& unit, const float* packed)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        memory_(memory),
        scratch_(lay_out(job.plan, memory.bytes)),
        unit_(unit),
        packed_(packed),
        inputs_point_(plan_.block_size * plan_.part_channels + kWinogradPad),
        products_point_(plan_.block_size * kNR + kWinogradPad),
        weights_point_(plan_.part_channels * kNR + kWinogradPad),
        products_(scratch_.work),
        weights_(products_ + kPoints * products_point_),
        inputs_(weights_ +
                kKernelPoints * weights_point_ * (plan_.resident ? plan_.unit_panels : 1)) {}

  void run() const {
    if (plan_.resident && memory_.transformed_panel != unit_.first_panel)
      for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel)
        transform_weights(panel, 0, conv_.in_c);
    memory_.transformed_panel = unit_.first_panel;
    for (int64_t block = unit_.first_block; block < unit_.last_block; ++block) run_block(block);
  }

 private:
  void run_block(int64_t block) const {
    const int64_t first = block * plan_.block_size;
    const int64_t all = conv_.batch * plan_.tiles_h * plan_.tiles_w;
    const int64_t tiles = smaller(plan_.block_size, all - first);
    if (memory_.prepared_block != block)
      for (int64_t t = 0; t < tiles; ++t) transform_inputs_at(first + t, t);
    memory_.prepared_block = block;
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      for (int64_t c = 0; c < conv_.in_c; c += plan_.part_channels) {
        const int64_t channels = smaller(plan_.part_channels, conv_.in_c - c);
        if (!plan_.resident) transform_weights(panel, c, channels);
        multiply(panel, c, channels, tiles);
      }
      const Panel span = panel_at(conv_, plan_.layout, panel);
      const Output output(operands_, span.channel);
      if (operands_.sums) clear_sums(scratch_.sums);
      for (int64_t t = 0; t < tiles; ++t) transform_outputs(output, first + t, t, span.columns);
      if (operands_.sums) store_sums(conv_, span, scratch_.sums, operands_.sums, block);
    }
  }

  TilePosition locate(int64_t tile) const {
    return locate_tile(tile, plan_.tiles_h, plan_.tiles_w, kOutput);
  }

  // The point of a kernel that meets this point of the inputs.
  static int64_t kernel_point(int64_t point) {
    return smaller(point / kInput, kKernel - 1) * kKernel + smaller(point % kInput, kKernel - 1);
  }

  float* weights(int64_t panel) const {
    return weights_ +
           (plan_.resident ? panel - unit_.first_panel : 0) * kKernelPoints * weights_point_;
  }
  float* inputs(int64_t c) const {
    return inputs_ + c / plan_.part_channels * kPoints * inputs_point_;
  }

  void transform_weights(int64_t panel, int64_t first, int64_t channels) const {
    const int64_t tap = conv_.in_c * kNR;
    const float* from = packed_ + (panel - unit_.first_panel) * 9 * tap + first * kNR;
    float* to = weights(panel);
    for (int64_t n = 0; n < channels * kNR; n += kLanes)
      transform_square<F::kernel, 3, kKernel>(
          [&](int i, int j) { return load(from + (i * 3 + j) * tap + n); },
          [&](int i, int j, Vec u) { store(to + (i * kKernel + j) * weights_point_ + n, u); });
  }

  void transform_inputs_at(int64_t tile, int64_t t) const {
    const float* in[kInput][kInput];
    point_at_inputs<F>(conv_, operands_.in, locate(tile), in);
    for (int64_t first = 0; first < conv_.in_c; first += plan_.part_channels) {
      const int64_t channels = smaller(plan_.part_channels, conv_.in_c - first);
      transform_inputs<F>(in, first, channels, inputs_point_, inputs(first) + t * channels);
    }
  }

  // Adds the products over `channels` from `c` on.
  void multiply(int64_t panel, int64_t c, int64_t channels, int64_t tiles) const {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.runs = 1;
    tile.length = channels;
    tile.first = c == 0;
    for (int64_t point = 0; point < kPoints; ++point) {
      tile.panel = weights(panel) + kernel_point(point) * weights_point_;
      const float* in = inputs(c) + point * inputs_point_;
      float* products = products_ + point * products_point_;
      for_each_tile(tiles, [&](int64_t first, int64_t m) {
        for (int64_t i = 0; i < m; ++i) scratch_.rows[i] = in + (first + i) * channels;
        tile.acc = products + first * kNR;
        tile_function<Dense>(m, kVectors)(tile);
      });
    }
  }

  void transform_outputs(const Output& output, int64_t tile, int64_t t, int64_t columns) const {
    const TilePosition at = locate(tile);
    const float* from = products_ + t * kNR;
    for (int64_t n = 0; n < columns; n += kLanes) {
      Vec inside[kOutput * kOutput];
      inside[0] = Vec{};  // compilers do not see that it always gets a value
      int count = 0;
      transform_square<F::output, kInput, kOutput>(
          [&](int i, int j) { return load(from + (i * kInput + j) * products_point_ + n); },
          [&](int i, int j, Vec y) {
            if (at.y + i >= conv_.out_h || at.x + j >= conv_.out_w) return;
            const int64_t row = (at.image * conv_.out_h + at.y + i) * conv_.out_w;
            finish_vector(output, (row + at.x + j) * conv_.out_c, n, columns - n, y);
            if (operands_.sums) inside[count++] = y;
          });
      if (operands_.sums) add_to_sums(inside, count, scratch_.sums, n);
    }
  }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Memory& memory_;
  Scratch& scratch_;
  const Unit unit_;
  const float* const packed_;
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
