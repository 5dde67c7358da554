// Winograd's minimal filtering F(n, 3) for n = 5, 4, 3 and 2 (Lavin & Gray 2015), and likewise for
// stride 2 (winograd_strided.h) and for windows of two (winograd_pairs.h), along the height, the
// width or both. For n = 4 on both sides:
//
//   U = G g G^T       each 3x3 kernel g, to 6x6 points                    (transform_weights)
//   V = B^T d B       each 6x6 tile d of inputs, likewise                 (transform_inputs)
//   M[p] = V[p] U[p]  for each point p a matrix product over channels     (multiply)
//   y = A^T M A       4x4 outputs, and the epilogue                       (finish_tile)
//
// 36 products make 16 outputs where direct convolution takes 144. All four stages stay inside one
// block of tiles, which fits the cache, and share its memory, so they are one class; the products
// are those of the register tile in tile.h. Errors are about 1e-5 of the largest output; NaN and
// infinity spread over their tile.
//
// A tile has some slices of the depth. The products of each run over the taps of the window along
// the depth as well, which are runs of the register tile, each at another input slice.
//
// Products are added up for some input channels at a time, a pass:
//
//   products M   (points, output slices, tiles, NR)
//   inputs V     (passes, points, input slices, tiles, channels of a pass)
//   weights U    (points of a kernel, taps of the depth, channels of a pass, NR), of one pass of
//   one
//                panel at a time, or of all passes of all the unit's panels, where they are
//                resident

#pragma once

#include "conv/scratch.h"
#include "conv/winograd_tile.h"

namespace resfuse {
namespace {

class Winograd {
 public:
  Winograd(const Job& job, Memory& memory, const Unit& unit)
      : job_(job),
        conv_(job.conv),
        plan_(job.plan),
        winograd_(job.plan.winograd),
        tiling_(winograd_.tiling),
        transforms_(transforms_of<Transforms>(conv_, tiling_)),
        points_(transforms_.inputs.count()),
        kernel_points_(transforms_.kernel_points.count()),
        operands_(job.operands),
        scatter_(job.scatter),
        memory_(memory),
        scratch_(lay_out(job.plan, memory.bytes)),
        unit_(unit),
        packed_(pack_unit(job, memory, unit)),
        tiles_(winograd_tiles(conv_, tiling_)),
        slices_(slices_of(conv_, tiling_)),
        passes_(ceil_div(conv_.in_c, winograd_.pass_channels)),
        inputs_point_(slices_ * plan_.blocks.size * winograd_.pass_channels + kWinogradPad),
        products_point_(tiling_.d.size * plan_.blocks.size * kNR + kWinogradPad),
        weights_point_(conv_.d.kernel * winograd_.pass_channels * kNR + kWinogradPad),
        positions_(reinterpret_cast<TilePosition*>(scratch_.work)),
        products_(scratch_.work + plan_.blocks.size * kPositionFloats),
        weights_(products_ + points_ * products_point_),
        inputs_(weights_ + kernel_points_ * weights_point_ *
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
    const int64_t tiles = smaller(plan_.blocks.size, tiles_ - first);
    if (replace(memory_.prepared_block, block))
      for (int64_t t = 0; t < tiles; ++t) {
        positions_[t] = locate_tile(first + t, tiling_);
        for (int64_t z = 0; z < slices_; ++z) transform_inputs_at(t, z, z * tiles + t);
      }
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      for (int64_t pass = 0; pass < passes_; ++pass) {
        if (!winograd_.resident) transform_weights(panel, pass);
        multiply(panel, pass, tiles);
      }
      finish_panel(panel, block, tiles);
    }
  }

  void finish_panel(int64_t panel, int64_t block, int64_t tiles) {
    const Panel span = panel_at(conv_, plan_.layout, panel);
    float numbers[2 * kNR];
    const Output output(job_, span, vectors_of(span), scratch_.registers, numbers);
    if (operands_.sums) clear_sums(span, scratch_.sums);
    for (int64_t z = 0; z < tiling_.d.size; ++z)
      for (int64_t t = 0; t < tiles; ++t) {
        const Grid grid = output_grid(positions_[t], tiling_, z);
        if (grid.z >= conv_.d.out) continue;
        const int64_t row = z * tiles + t;
        finish_tile(output, grid, row);
      }
    if (operands_.sums) store_sums(conv_, span, scratch_.sums, operands_.sums, block);
  }

  // The point of a kernel that meets this point of the inputs.
  int64_t kernel_point(int64_t point) const {
    const Area& kernel = transforms_.kernel_points;
    return smaller(point / transforms_.inputs.w, kernel.h - 1) * kernel.w +
           smaller(point % transforms_.inputs.w, kernel.w - 1);
  }

  // The channels of a pass, from the first to that of the next.
  int64_t first_channel(int64_t pass) const { return pass * winograd_.pass_channels; }
  int64_t channels(int64_t pass) const {
    return smaller(winograd_.pass_channels, conv_.in_c - first_channel(pass));
  }

  float* weights(int64_t panel, int64_t pass) const {
    const int64_t index = winograd_.resident ? (panel - unit_.first_panel) * passes_ + pass : 0;
    return weights_ + index * kernel_points_ * weights_point_;
  }
  float* inputs(int64_t pass) const { return inputs_ + pass * points_ * inputs_point_; }

  // The packed weights of a pass, of the first tap; those of the next are `tap_floats` further.
  const float* packed_weights(int64_t panel, int64_t pass) const {
    return packed_ + (panel - unit_.first_panel) * plan_.layout.panel_stride() +
           first_channel(pass) * kNR;
  }

  void transform_weights(int64_t panel, int64_t pass) {
    const int64_t tap = plan_.layout.tap_floats(), length = channels(pass) * kNR;
    const int64_t taps = transforms_.taps.count();
    const float* from = packed_weights(panel, pass);
    float* to = weights(panel, pass);
    // The first slices meet the last taps.
    const Stretch &first = winograd_.stretches[0],
                  &last = winograd_.stretches[winograd_.stretch_count - 1];
    for (int64_t k = last.tap; k < first.tap + first.taps; ++k) {
      const float* in[kMostTaps];
      for (int64_t t = 0; t < taps; ++t) in[t] = from + (k * taps + t) * tap;
      transforms_.kernel(in, 0, length, weights_point_, to + k * length);
    }
  }

  // Of the tile's input slice `z`, if a stretch meets it, to this row of V.
  void transform_inputs_at(int64_t tile, int64_t z, int64_t row) {
    const Grid grid = input_grid(conv_, positions_[tile], tiling_, z);
    if (conv_.d.out <= kShallow && !is_inside(grid.z, conv_.d.in)) return;
    const Prologue* const prologue = operands_.prologue;
    if (!prologue) return transform_part({operands_.in, conv_.in_c}, 0, grid, row);
    int64_t first = 0;
    for (int i = 0; i < prologue->parts; first += prologue->part[i++].channels)
      transform_part(prologue->part[i], first, grid, row);
  }

  // Of images whose channels are those from `first` on.
  void transform_part(const Part& part, int64_t first, const Grid& grid, int64_t row) {
    const float* in[kMostInputs];
    point_at_pixels(part.data, {conv_.h.in, conv_.w.in, part.channels}, conv_.d.in, grid,
                    transforms_.inputs, in);
    for (int64_t pass = 0; pass < passes_; ++pass) {
      const int64_t of_pass = first_channel(pass) - first;
      const int64_t begin = of_pass < 0 ? 0 : of_pass;
      const int64_t end = smaller(of_pass + channels(pass), part.channels);
      transforms_.input(in, begin, end - begin, inputs_point_,
                        inputs(pass) + row * channels(pass) + begin - of_pass);
    }
  }

  // Adds the products of a pass.
  void multiply(int64_t panel, int64_t pass, int64_t tiles) {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.row_stride = channels(pass);
    tile.first = pass == 0;
    for (int64_t point = 0; point < points_; ++point) {
      tile.ahead = next_weights(panel, pass, point, tiles);
      for (int64_t s = 0; s < winograd_.stretch_count; ++s) {
        const Stretch& stretch = winograd_.stretches[s];
        // Without taps it is an empty run.
        tile.runs = stretch.taps > 0 ? stretch.taps : 1;
        tile.length = stretch.taps > 0 ? tile.row_stride : 0;
        tile.panel = weights(panel, pass) + kernel_point(point) * weights_point_ +
                     stretch.tap * tile.length * kNR;
        tile.acc = products_ + point * products_point_ + stretch.z * tiles * kNR;
        multiply_stretch(stretch, tiles, inputs(pass) + point * inputs_point_, tile);
      }
    }
  }

  // The packed weights whose turn is next, of which each point brings a tap's, and each of its
  // register tiles a share; after the last ones, and where weights are resident, a line of them
  // again.
  Ahead next_weights(int64_t panel, int64_t pass, int64_t point, int64_t tiles) const {
    if (++pass == passes_) ++panel, pass = 0;
    if (winograd_.resident || panel == unit_.last_panel || point >= transforms_.taps.count())
      return ahead_of(packed_, 0);
    return share_ahead(packed_weights(panel, pass) + point * plan_.layout.tap_floats(), tiles);
  }

  // Adds those of all rows of a stretch, whose first is tile.acc, with V's matrix of a point. With
  // a stride along the depth, the rows of one output slice do not follow those of another.
  void multiply_stretch(const Stretch& stretch, int64_t tiles, const float* in, Tile tile) {
    const int64_t together = conv_.d.stride == 1 ? stretch.slices : 1;
    for (int64_t z = 0; z < stretch.slices; z += together)
      multiply_slices(stretch, z, together, tiles, in, tile);
  }

  // Of the stretch's output slices [z, z + slices), whose rows follow each other: a tile reaches
  // them from a few pointers, 2 percent of the time of one with a pointer for each.
  void multiply_slices(const Stretch& stretch, int64_t z, int64_t slices, int64_t tiles,
                       const float* in, Tile tile) {
    float* const products = tile.acc + z * tiles * kNR;
    for (int64_t k = 0; k < tile.runs; ++k) {
      const int64_t slice =
          (stretch.z + z) * conv_.d.stride + (stretch.tap + k) * conv_.d.window_dilation;
      scratch_.rows[k] = in + slice * tiles * tile.row_stride;
    }
    for_each_tile(slices * tiles, [&](int64_t first, int64_t m) {
      tile.offset = first * tile.row_stride;
      tile.acc = products + first * kNR;
      tiles_of<Matrix>(kVectors).of_height(m)(tile);
      tile.ahead.skip(tile.runs * tile.length);
    });
  }

  // Transforms the products in `row`, and finishes those outputs of their tile that are inside the
  // image.
  void finish_tile(const Output& output, const Grid& grid, int64_t row) {
    Vec values[kVectors][kMostOutputs];
    int64_t pixels[kMostOutputs];
    for (int64_t n = 0; n < output.vectors; ++n)
      transforms_.output(products_ + row * kNR + n * kLanes, products_point_, values[n]);
    const int64_t count = keep_inside(grid, output.vectors, values, pixels);
    if (operands_.sums)
      for (int64_t n = 0; n < output.vectors; ++n)
        add_to_sums({reinterpret_cast<const float*>(values[n]), kLanes}, static_cast<int>(count),
                    scratch_.sums[n]);
    if (output.program) return run_program(output, values, pixels, count);
    for (int64_t n = 0, channel = 0; n < output.vectors; ++n, channel += kLanes)
      for (int64_t i = 0; i < count; ++i)
        finish_vector(output, pixels[i] + channel, output.columns - channel,
                      scale_and_shift(output, channel, values[n][i]));
  }

  // Notes where the outputs inside the image begin, and moves them up. Returns their number.
  int64_t keep_inside(const Grid& grid, int64_t vectors, Vec (&values)[kVectors][kMostOutputs],
                      int64_t* pixels) const {
    const int64_t slice = scatter_.first + grid.image * scatter_.image + grid.z * scatter_.plane;
    int64_t count = 0;
    for (int64_t i = 0, from = 0; i < transforms_.outputs.h; ++i)
      for (int64_t j = 0; j < transforms_.outputs.w; ++j, ++from) {
        const int64_t y = grid.y + i * grid.step_y, x = grid.x + j * grid.step_x;
        if (y >= conv_.h.out || x >= conv_.w.out) continue;
        for (int64_t n = 0; n < vectors && from > count; ++n) values[n][count] = values[n][from];
        pixels[count++] = slice + y * scatter_.row + x * scatter_.pixel;
      }
    return count;
  }

  // Ends in the program, which takes all of the tile's outputs, or as many as a register tile has.
  void run_program(const Output& output, const Vec (&values)[kVectors][kMostOutputs],
                   const int64_t* pixels, int64_t count) {
    for_each_tile(count, [&](int64_t first, int64_t m) {
      float* to = output.registers.slots[0];
      int64_t* place = output.registers.places;
      for (int64_t i = first; i < first + m; ++i)
        for (int64_t n = 0; n < output.vectors; ++n, to += kLanes) {
          *place++ = pixels[i] + n * kLanes;
          store(to, scale_and_shift(output, n * kLanes, values[n][i]));
        }
      finish_by_program(output, m * output.vectors);
    });
  }

  const Job& job_;
  const Conv& conv_;
  const Plan& plan_;
  const WinogradPlan& winograd_;
  const Tiling& tiling_;
  const Transforms transforms_;
  const int64_t points_, kernel_points_;
  const Operands& operands_;
  const Scatter& scatter_;
  Memory& memory_;
  Scratch& scratch_;
  const Unit unit_;
  const float* const packed_;
  const int64_t tiles_, slices_, passes_;                        // slices of the inputs of a tile
  const int64_t inputs_point_, products_point_, weights_point_;  // floats from point to point
  TilePosition* const positions_;                                // of the block's tiles
  float *const products_, *const weights_, *const inputs_;
};

}  // namespace
}  // namespace resfuse
