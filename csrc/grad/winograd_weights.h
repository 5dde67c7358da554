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

#include "conv/winograd_tile.h"
#include "grad/weight_gradient.h"

namespace resfuse {
namespace {

class WinogradWeights {
 public:
  WinogradWeights(const WeightJob& job, float* work, const WeightUnit& unit)
      : conv_(job.conv),
        plan_(job.plan),
        job_(job),
        unit_(unit),
        transforms_(transforms_of<GradientTransforms>(conv_, plan_.tiling)),
        points_(transforms_.inputs.count()),
        slices_(slices_of(conv_, plan_.tiling)),
        whole_depth_(plan_.tiling.d.count == 1),
        inputs_point_(slices_ * plan_.block_size * plan_.inputs.size + kWinogradPad),
        panel_point_(plan_.tiling.d.size * plan_.block_size * kNR + kWinogradPad),
        products_point_(plan_.inputs.size * kNR + kWinogradPad),
        inputs_(work),
        panel_(inputs_ + points_ * inputs_point_),
        products_(panel_ + points_ * panel_point_) {}

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
    return products_ + (column / kNR * conv_.d.kernel + k) * points_ * products_point_;
  }

  void transform_block(int64_t first, int64_t tiles) {
    for (int64_t t = 0; t < tiles; ++t) {
      const TilePosition at = locate_tile(first + t, plan_.tiling);
      for (int64_t z = 0; z < slices_; ++z) {
        const float* in[kMostInputs];
        const Grid grid = input_grid(conv_, at, plan_.tiling, z);
        if (whole_depth_ && !is_inside(grid.z, conv_.d.in)) continue;
        point_at_pixels(job_.in, {conv_.h.in, conv_.w.in, conv_.in_c}, conv_.d.in, grid,
                        transforms_.inputs, in);
        transforms_.input(in, unit_.first_channel, unit_.channels, inputs_point_,
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
    const float* pixels[kMostOutputs];
    point_at_outputs(grid, pixels);
    const int64_t first = unit_.first_column + column, columns = unit_.columns - column;
    if (columns >= kNR) return transforms_.gradient(pixels, first, kNR, panel_point_, to);
    float padded[kMostOutputs][kNR];
    for (int64_t i = 0; i < transforms_.outputs.count(); ++i) {
      for (int64_t n = 0; n < kNR; n += kLanes)
        store(padded[i] + n, load_some(pixels[i] + first + n, columns - n));
      pixels[i] = padded[i];
    }
    transforms_.gradient(pixels, 0, kNR, panel_point_, to);
  }

  // Points at the first channel of each output of a grid, or at zeros beyond the image.
  void point_at_outputs(const Grid& grid, const float** to) const {
    const Scatter& at = job_.scatter;
    const float* const slice = job_.d_out + (at.first + grid.image * at.image + grid.z * at.plane);
    for (int64_t i = 0; i < transforms_.outputs.h; ++i)
      for (int64_t j = 0; j < transforms_.outputs.w; ++j) {
        const int64_t y = grid.y + i * grid.step_y, x = grid.x + j * grid.step_x;
        const bool inside = grid.z < conv_.d.out && y < conv_.h.out && x < conv_.w.out;
        *to++ = inside ? slice + y * at.row + x * at.pixel : kZeros;
      }
  }

  void multiply(int64_t tiles, int64_t column, bool first) {
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t point = 0; point < points_; ++point) {
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
    const int64_t taps = transforms_.taps.count();
    float* to = job_.d_kernel + unit_.chunk * conv_.taps() * tap +
                unit_.first_channel * conv_.out_c + unit_.first_column + column;
    for (int64_t k = 0; k < conv_.d.kernel; ++k, to += taps * tap)
      for (int64_t c = 0; c < unit_.channels; ++c)
        for (int64_t n = 0; n < kNR; n += kLanes) {
          const float* from = products(column, k) + c * kNR + n;
          float* const at = to + c * conv_.out_c + n;
          Vec values[kMostTaps];
          transforms_.kernel(from, products_point_, values);
          for (int64_t t = 0; t < taps; ++t) store_some(at + t * tap, values[t], columns - n);
        }
  }

  const Conv& conv_;
  const WeightPlan& plan_;
  const WeightJob& job_;
  const WeightUnit unit_;
  const GradientTransforms transforms_;
  const int64_t points_;
  const int64_t slices_;  // of the inputs of a tile
  const bool whole_depth_;
  const int64_t inputs_point_, panel_point_, products_point_;  // floats from point to point
  float *const inputs_, *const panel_, *const products_;
};

}  // namespace
}  // namespace resfuse
