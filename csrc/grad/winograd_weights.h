// The weight gradient of 3x3 windows with stride 1, by Winograd's transforms:
//
//   V = B^T d B                tiles of inputs, as forward                    (transform_inputs)
//   Z = A e A^T                tiles e of d_out                               (transform_panel)
//   P[p] += V[p]^T Z[p]        for each point p, a product over the tiles     (multiply)
//   d_kernel = G^T P G         once, at the end                               (transform_weights)
//
// the transpose of the forward algorithm, stage by stage: y = A^T [(G g G^T) . (B^T d B)] A is
// linear in g, and this is the transpose of that map. As forward, 36 products do the work of 144.
//
//   inputs V    (points, tiles, channels of the unit)
//   panel Z     (points, tiles, NR)
//   products P  (panels of the unit, points, channels of the unit, NR)

#pragma once

#include "conv/winograd_tile.h"
#include "grad/weight_gradient.h"

namespace resfuse {
namespace {

template <typename F>
class WinogradWeights {
  static constexpr int kOutput = F::kOutput, kInput = F::kInput, kPoints = kInput * kInput;

 public:
  WinogradWeights(const WeightJob& job, float* work, const WeightUnit& unit)
      : conv_(job.conv),
        plan_(job.plan),
        job_(job),
        unit_(unit),
        inputs_point_(plan_.block_size * plan_.inputs.size + kWinogradPad),
        panel_point_(plan_.block_size * kNR + kWinogradPad),
        products_point_(plan_.inputs.size * kNR + kWinogradPad),
        inputs_(work),
        panel_(inputs_ + kPoints * inputs_point_),
        products_(panel_ + kPoints * panel_point_) {}

  void run() {
    for (int64_t first = unit_.first; first < unit_.last; first += plan_.block_size) {
      const int64_t tiles = smaller(plan_.block_size, unit_.last - first);
      transform_block(first, tiles);
      for (int64_t column = 0; column < unit_.columns; column += kNR) {
        transform_panel(first, tiles, column);
        multiply(tiles, column, first == unit_.first);
      }
    }
    for (int64_t column = 0; column < unit_.columns; column += kNR) transform_weights(column);
  }

 private:
  TilePosition locate(int64_t tile) const { return locate_tile(tile, plan_.tiling); }
  float* products(int64_t column) const {
    return products_ + column / kNR * kPoints * products_point_;
  }

  void transform_block(int64_t first, int64_t tiles) {
    for (int64_t t = 0; t < tiles; ++t) {
      const float* in[kInput][kInput];
      point_at_inputs<F>(conv_, job_.in, locate(first + t), in);
      transform_inputs<F>(in, unit_.first_channel, unit_.channels, inputs_point_,
                          inputs_ + t * plan_.inputs.size);
    }
  }

  void transform_panel(int64_t first, int64_t tiles, int64_t column) {
    const int64_t columns = unit_.columns - column;
    for (int64_t t = 0; t < tiles; ++t) {
      const float* pixels[kOutput][kOutput];
      point_at_pixels(job_.d_out, {conv_.h.out, conv_.w.out, conv_.out_c}, locate(first + t),
                      pixels);
      for (int n = 0; n < kVectors; ++n) {
        const int64_t at = unit_.first_column + column + n * kLanes, count = columns - n * kLanes;
        transform_square<F::gradient, kOutput, kInput>(
            [&](int i, int j) { return load_some(pixels[i][j] + at, count); },
            [&](int i, int j, Vec z) {
              store(panel_ + (i * kInput + j) * panel_point_ + t * kNR + n * kLanes, z);
            });
      }
    }
  }

  void multiply(int64_t tiles, int64_t column, bool first) {
    WeightTile tile{};
    tile.stride = plan_.inputs.size;
    tile.pixels = tiles;
    tile.out_stride = tile.columns = kNR;
    tile.first = first;
    for (int64_t point = 0; point < kPoints; ++point) {
      tile.panel = panel_ + point * panel_point_;
      for_each_tile(unit_.channels, [&](int64_t top, int64_t m) {
        tile.rows = inputs_ + point * inputs_point_ + top;
        tile.out = products(column) + point * products_point_ + top * kNR;
        weight_function(m, kNR)(tile);
      });
    }
  }

  void transform_weights(int64_t column) {
    float* const result = job_.d_kernel + unit_.chunk * 9 * conv_.in_c * conv_.out_c;
    for (int64_t c = 0; c < unit_.channels; ++c)
      for (int64_t n = 0; n < kNR; n += kLanes) {
        const float* from = products(column) + c * kNR + n;
        const int64_t to =
            (unit_.first_channel + c) * conv_.out_c + unit_.first_column + column + n;
        transform_square<F::kernel_gradient, kInput, 3>(
            [&](int i, int j) { return load(from + (i * kInput + j) * products_point_); },
            [&](int i, int j, Vec g) {
              store_some(result + (i * 3 + j) * conv_.in_c * conv_.out_c + to, g,
                         unit_.columns - column - n);
            });
      }
  }

  const Conv& conv_;
  const WeightPlan& plan_;
  const WeightJob& job_;
  const WeightUnit unit_;
  const int64_t inputs_point_, panel_point_, products_point_;  // floats from point to point
  float *const inputs_, *const panel_, *const products_;
};

}  // namespace
}  // namespace resfuse
