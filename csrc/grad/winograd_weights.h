// The weight gradient with stride 1, by Winograd's transforms:
//
//   V = B^T d B                tiles of inputs, as forward                    (transform_inputs)
//   Z = A e A^T                tiles e of d_out                               (transform_panel)
//   P[p] += V[p]^T Z[p]        for each point p, a product over the tiles     (multiply)
//   d_kernel = G^T P G         once, at the end                               (transform_weights)
//
// the transpose of the forward algorithm, stage by stage: y = A^T [(G g G^T) . (B^T d B)] A is
// linear in g, and this is the transpose of that map. As forward, 36 products do the work of 144.
//
// A tap of the depth meets each slice of a tile as many slices further on as its place in the
// window says, so it has products of its own, whose rows of V are those of the first tap, moved.
//
//   inputs V    (points, input slices, tiles, channels of the unit)
//   panel Z     (points, output slices, tiles, NR)
//   products P  (panels of the unit, taps of the depth, points, channels of the unit, NR)

#pragma once

#include "conv/winograd_pairs.h"
#include "conv/winograd_tile.h"
#include "grad/weight_gradient.h"

namespace resfuse {
namespace {

// H and W are the transforms of each side.
template <typename H, typename W>
class WinogradWeights {
  static constexpr int kPoints = H::kInput * W::kInput;
  static constexpr int kTapsH = inputs_of(H::kernel), kTapsW = inputs_of(W::kernel);

 public:
  WinogradWeights(const WeightJob& job, float* work, const WeightUnit& unit)
      : conv_(job.conv),
        plan_(job.plan),
        job_(job),
        unit_(unit),
        slices_(slices_of(conv_, plan_.tiling)),
        whole_depth_(plan_.tiling.d.count == 1),
        inputs_point_(slices_ * plan_.block_size * plan_.inputs.size + kWinogradPad),
        panel_point_(plan_.tiling.d.size * plan_.block_size * kNR + kWinogradPad),
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
  // Of the panel that begins at this column, of a tap of the depth.
  float* products(int64_t column, int64_t k) const {
    return products_ + (column / kNR * conv_.d.kernel + k) * kPoints * products_point_;
  }

  void transform_block(int64_t first, int64_t tiles) {
    for (int64_t t = 0; t < tiles; ++t) {
      const TilePosition at = locate_tile(first + t, plan_.tiling);
      for (int64_t z = 0; z < slices_; ++z) {
        const float* in[H::kInput][W::kInput];
        const Grid grid = input_grid(conv_, at, plan_.tiling, z);
        if (whole_depth_ && !is_inside(grid.z, conv_.d.in)) continue;
        point_at_pixels(job_.in, {conv_.h.in, conv_.w.in, conv_.in_c}, conv_.d.in, grid, in);
        transform_inputs<H, W>(in, unit_.first_channel, unit_.channels, inputs_point_,
                               inputs_ + (z * tiles + t) * plan_.inputs.size);
      }
    }
  }

  void transform_panel(int64_t first, int64_t tiles, int64_t column) {
    for (int64_t t = 0; t < tiles; ++t) {
      const TilePosition at = locate_tile(first + t, plan_.tiling);
      for (int64_t z = 0; z < plan_.tiling.d.size; ++z)
        transform_outputs(output_grid(at, plan_.tiling, z), column, panel_ + (z * tiles + t) * kNR);
    }
  }

  // Of a slice of a tile.
  void transform_outputs(const Grid& grid, int64_t column, float* to) {
    const float* pixels[H::kOutput][W::kOutput];
    point_at_outputs(grid, pixels);
    for (int64_t n = 0; n < kNR; n += kLanes) {
      const int64_t at = unit_.first_column + column + n, count = unit_.columns - column - n;
      transform_both<H::gradient, W::gradient>(
          [&](int i, int j) { return load_some(pixels[i][j] + at, count); },
          [&](int i, int j, Vec z) { store(to + (i * W::kInput + j) * panel_point_ + n, z); });
    }
  }

  // Points at the first channel of each output of a grid, or at zeros beyond the image.
  void point_at_outputs(const Grid& grid, const float* (&to)[H::kOutput][W::kOutput]) const {
    const Scatter& at = job_.scatter;
    const float* const slice = job_.d_out + (at.first + grid.image * at.image + grid.z * at.plane);
    for (int64_t i = 0; i < H::kOutput; ++i)
      for (int64_t j = 0; j < W::kOutput; ++j) {
        const int64_t y = grid.y + i * grid.step_y, x = grid.x + j * grid.step_x;
        const bool inside = grid.z < conv_.d.out && y < conv_.h.out && x < conv_.w.out;
        to[i][j] = inside ? slice + y * at.row + x * at.pixel : kZeros;
      }
  }

  void multiply(int64_t tiles, int64_t column, bool first) {
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t point = 0; point < kPoints; ++point) {
        WeightTile tile = slices_of_tap(k, tiles);
        tile.rows += point * inputs_point_;
        tile.panel += point * panel_point_;
        tile.out = products(column, k) + point * products_point_;
        tile.first = first;
        add_rows(tile);
      }
  }

  // The rows of the first point that meet a tap of the depth: all, but where a tile is as deep as
  // the image those only whose slice of the inputs is inside it.
  WeightTile slices_of_tap(int64_t k, int64_t tiles) const {
    const Side& depth = conv_.d;
    const int64_t moved = k * depth.window_dilation, inside = depth.pad - moved;
    const int64_t first = whole_depth_ && inside > 0 ? smaller(inside, depth.out) : 0;
    const int64_t end = whole_depth_ ? smaller(depth.in + inside, depth.out) : plan_.tiling.d.size;
    WeightTile tile{};
    tile.stride = plan_.inputs.size;
    tile.out_stride = tile.columns = kNR;
    tile.pixels = end > first ? (end - first) * tiles : 0;
    tile.rows = inputs_ + (first + moved) * tiles * plan_.inputs.size;
    tile.panel = panel_ + first * tiles * kNR;
    return tile;
  }

  // Adds the products of all channels of the unit.
  void add_rows(const WeightTile& tile) {
    for_each_tile(unit_.channels, [&](int64_t top, int64_t m) {
      WeightTile at_top = tile;
      at_top.rows += top;
      at_top.out += top * kNR;
      weight_function(m, kNR)(at_top);
    });
  }

  // Writes a panel's columns of the result.
  void transform_weights(int64_t column) {
    const int64_t tap = conv_.in_c * conv_.out_c, columns = unit_.columns - column;
    float* to = job_.d_kernel + unit_.chunk * conv_.taps() * tap +
                unit_.first_channel * conv_.out_c + unit_.first_column + column;
    for (int64_t k = 0; k < conv_.d.kernel; ++k, to += kTapsH * kTapsW * tap)
      for (int64_t c = 0; c < unit_.channels; ++c)
        for (int64_t n = 0; n < kNR; n += kLanes) {
          const float* from = products(column, k) + c * kNR + n;
          float* const at = to + c * conv_.out_c + n;
          transform_both<H::kernel_gradient, W::kernel_gradient>(
              [&](int i, int j) { return load(from + (i * W::kInput + j) * products_point_); },
              [&](int i, int j, Vec g) {
                store_some(at + (i * kTapsW + j) * tap, g, columns - n);
              });
        }
  }

  const Conv& conv_;
  const WeightPlan& plan_;
  const WeightJob& job_;
  const WeightUnit unit_;
  const int64_t slices_;  // of the inputs of a tile
  const bool whole_depth_;
  const int64_t inputs_point_, panel_point_, products_point_;  // floats from point to point
  float *const inputs_, *const panel_, *const products_;
};

// Calls `function(h, w)` as with_transforms does, of those that have gradients.
template <typename Function>
inline void with_gradients(const Conv& conv, const Tiling& tiling, Function function) {
  if (conv.h.kernel == 1)
    return with_outputs(conv.w, tiling.w.outputs, [&](auto w) { function(F1{}, w); });
  with_outputs(conv.h, tiling.h.outputs, [&](auto h) {
    if (conv.w.kernel == 1) return function(h, F1{});
    function(h, h);
  });
}

}  // namespace
}  // namespace resfuse
