// A panel of output channels on the pixels of a block, by the register tile of tile.h or grouped.h.

#pragma once

#include "conv/block_windows.h"
#include "conv/grouped.h"
#include "conv/paired_tile.h"
#include "conv/scratch.h"
#include "conv/strided_runs.h"

namespace resfuse {
namespace {

// A panel's turn among those that a thread computes on a block.
struct Turn {
  bool is_first;
  const float* next;  // the packed weights whose turn is next, or null
};

// A panel on the pixels [begin, end) of a block, whose windows are prepared.
class DirectPanel {
 public:
  DirectPanel(const Job& job, Scratch& scratch, const BlockWindows& windows, const Panel& panel,
              const float* packed, Turn turn = {}, int64_t first_sum = 0)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scatter_(job.scatter),
        scratch_(scratch),
        windows_(windows),
        packed_(packed),
        turn_(turn),
        first_sum_(first_sum),
        panel_(panel),
        vectors_(vectors_of(panel_)),
        first_input_(plan_.layout.grouped ? panel_.channel : panel_.group * conv_.group_in()),
        row_runs_(conv_.row_runs()),
        sum_(plan_.layout.grouped ? sum_function(conv_.group_in()) : nullptr),
        ahead_(ahead_of(packed, 0)),
        output_(job, panel_, vectors_, scratch.registers, numbers_) {}

  // Compiled once, for all that call it.
  __attribute__((noinline)) void run(int64_t begin, int64_t end) {
    ahead_ = ahead_of_tiles(end - begin);
    switch (plan_.direct.inputs) {
      case Inputs::kPointwise:
        return run_whole(begin, end, operands_.in + begin * conv_.in_c, conv_.in_c);
      case Inputs::kGathered:
        return run_whole(begin, end, windows_.gathered(), plan_.direct.pixel_floats);
      case Inputs::kStrided:
        return run_rows(begin, end);
      case Inputs::kShared:
        return is_cut() ? run_passes(begin, end) : run_shared(begin, end);
      case Inputs::kWindows:
      case Inputs::kRows:
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
    const Tiles tiles = tiles_of_one_run(panel_, conv_.reduction());
    const auto compute = [&](int64_t first, int64_t m, int64_t count) {
      Tile tile = tile_at(begin + first, m);
      tile.length = conv_.reduction();
      tile.first = tile.last = true;
      scratch_.rows[0] = in + first * stride;
      tile.runs = 1;
      tile.row_stride = stride;
      tile.count = count;
      if (reads_image_first() && m < end - begin) tile.ahead = next_rows(tile, m);
      tiles.of_height(m)(tile);
      ahead_.skip(count * conv_.reduction());
    };
    if (scatter_.dense) return for_each_height(end - begin, compute, tiles.highest);
    const auto one = [&](int64_t first, int64_t m) { compute(first, m, 1); };
    for_each_tile(end - begin, one, smaller(tiles.highest, kMR));  // Scratch::pixels
  }

  void run_rows(int64_t begin, int64_t end) {
    StridedRuns runs(conv_, operands_.in, scratch_.rows, windows_.rest());
    for_each_row(conv_, begin, end, [&](int64_t pixel, int64_t count) {
      runs.move_to(pixel / conv_.w.out);
      for_each_height(count, [&](int64_t first, int64_t m, int64_t tiles) {
        run_neighbours(runs, pixel + first, m, tiles);
      });
    });
  }

  // Computes some tiles of m pixels, which follow each other in a row of outputs.
  void run_neighbours(const StridedRuns& runs, int64_t pixel, int64_t m, int64_t tiles) {
    for (int64_t count; tiles > 0; tiles -= count, pixel += count * m) {
      Tile tile = tile_at(pixel, m);
      tile.runs = plan_.direct.passes.runs;
      tile.length = plan_.direct.passes.run_length;
      tile.first = tile.last = true;
      tile.row_stride = runs.stride();
      tile.count = count = runs.point(pixel % conv_.w.out, m, tiles);
      tiles_of<Matrix>(vectors_).of_height(m)(tile);
      ahead_.skip(count * conv_.reduction());
    }
  }

  // The weights whose turn is next, of which each tile of `pixels` brings its share; without a next
  // one a line of its own again, which costs nothing. A single tile meets each weight once, so it
  // brings its own, some ks early: those of 25088 channels would fill an L2, and the next panel's
  // be gone again when their turn comes.
  Ahead ahead_of_tiles(int64_t pixels) const {
    constexpr int64_t kEarly = 96;
    if (pixels <= kMR) return share_ahead(packed_ + kEarly * kNR, 1);
    return turn_.next ? share_ahead(turn_.next, pixels) : ahead_of(packed_, 0);
  }

  // The first panel meets pixels of the image that nobody has read before.
  bool reads_image_first() const {
    return turn_.is_first && plan_.direct.inputs == Inputs::kPointwise;
  }

  // The rows of the tile that follows one of m rows, which lie side by side.
  static Ahead next_rows(const Tile& tile, int64_t m) {
    return ahead_of(tile.rows[0] + m * tile.row_stride, m * static_cast<int64_t>(sizeof(float)));
  }

  void run_shared(int64_t begin, int64_t end) {
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      tile.rows = windows_.rows(first);
      tile.offset = first_input_;
      tile.runs = plan_.direct.passes.runs;
      tile.length = conv_.group_in();
      tile.first = tile.last = true;
      compute(tile, m);
      ahead_.skip(conv_.reduction());
    });
  }

  void run_passes(int64_t begin, int64_t end) {
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Tile tile = tile_at(begin + first, m);
      Corner corners[kMR];
      locate(conv_, begin + first, m, corners);
      run_passes_of_tile(corners, m, tile);
      ahead_.skip(conv_.reduction());
    });
  }

  void run_passes_of_tile(const Corner* corners, int64_t m, Tile& tile) {
    const Passes& passes = plan_.direct.passes;
    tile.first = true;
    for (int64_t run = 0; run < passes.runs; run += passes.pass_runs) {
      const Place place = place_of(run);
      tile.panel = packed_ + tap_of(place) * plan_.layout.tap_floats();
      for (int64_t offset = 0; offset < passes.run_length; offset += passes.pass_length) {
        const int64_t length = smaller(passes.pass_length, passes.run_length - offset);
        tile.runs = smaller(passes.pass_runs, passes.runs - run);
        tile.length = plan_.layout.grouped ? conv_.group_in() : length;
        tile.last = run + tile.runs == passes.runs && offset + length == passes.run_length;
        for (int64_t p = 0; p < m; ++p) point(corners[p], p, m, place, offset, tile, length);
        compute(tile, m);
        tile.panel += tile.runs * tile.length * kNR;
        tile.ahead.skip(tile.runs * tile.length);
        tile.first = false;
      }
    }
  }

  Tile tile_at(int64_t pixel, int64_t m) {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.panel = packed_;
    tile.ahead = ahead_;
    tile.acc = scratch_.registers.slots[0];
    tile.output = &output_;
    tile.pixel = pixel * conv_.out_c;
    tile.pixel_stride = conv_.out_c;
    if (!scatter_.dense) scatter(pixel, m, tile);
    tile.sums = operands_.sums ? scratch_.sums + first_sum_ : nullptr;
    tile.sum = sum_;
    tile.set_in_memory(Tile::kAll);
    return tile;
  }

  // Says where the outputs of m pixels go: a stride apart, if they are in one row.
  void scatter(int64_t pixel, int64_t m, Tile& tile) {
    tile.pixel = place_of_output(conv_, scatter_, pixel);
    tile.pixel_stride = scatter_.pixel;
    if (pixel % conv_.w.out + m <= conv_.w.out) return;
    for (int64_t i = 0; i < m; ++i)
      scratch_.pixels[i] = place_of_output(conv_, scatter_, pixel + i);
    tile.pixels = scratch_.pixels;
  }

  void compute(Tile& tile, int64_t m) const {
    if (!plan_.layout.grouped) return tiles_of<Dense>(vectors_).of_height(m)(tile);
    compute_grouped(tile, static_cast<int>(m), static_cast<int>(vectors_));
  }

  // A run of a window: that of row (k, i) which begins with tap j.
  struct Place {
    int64_t k, i, j;
  };
  Place place_of(int64_t run) const {
    const int64_t row = run / row_runs_;
    return {row / conv_.h.kernel, row % conv_.h.kernel, run % row_runs_};
  }

  // Where it is packed.
  int64_t tap_of(const Place& place) const {
    return place.k * plan_.layout.plane_taps + place.i * plan_.layout.row_taps + place.j;
  }

  // Points pixel p of m at `length` floats of each of the pass's runs, from `offset` on.
  void point(const Corner& corner, int64_t p, int64_t m, const Place& first, int64_t offset,
             const Tile& tile, int64_t length) {
    const int64_t channel = first_input_ + offset;
    if (corner.inside && !is_cut())
      point_inside(corner, p, m, first, channel, tile.runs);
    else
      point_at_edge(corner, p, m, first, channel, tile.runs, length);
  }

  void point_inside(const Corner& corner, int64_t p, int64_t m, Place at, int64_t channel,
                    int64_t runs) {
    // Locals, for rows might alias members.
    const float* const in = operands_.in;
    const int64_t row_runs = row_runs_, rows = conv_.h.kernel;
    const int64_t step = conv_.w.window_dilation * conv_.in_c;
    const int64_t row_floats = conv_.w.in * conv_.in_c;
    const int64_t row_step = conv_.h.window_dilation * row_floats;
    const int64_t plane_step = conv_.d.window_dilation * conv_.h.in * row_floats;
    const float** to = scratch_.rows + p;
    int64_t begin =
        row_of_window(conv_, corner, at.k, at.i).at + corner.x * conv_.in_c + at.j * step + channel;
    for (int64_t run = 0; run < runs; ++run, to += m) {
      *to = in + begin;
      begin += step;
      if (++at.j < row_runs) continue;
      begin += row_step - row_runs * step;
      at.j = 0;
      if (++at.i < rows) continue;
      begin += plane_step - rows * row_step;
      at.i = 0;
    }
  }

  void point_at_edge(const Corner& corner, int64_t p, int64_t m, Place at, int64_t channel,
                     int64_t runs, int64_t length) {
    const int64_t step = conv_.w.window_dilation * conv_.in_c;
    const int64_t real = plan_.layout.grouped ? panel_.columns : length;
    const float** to = scratch_.rows + p;
    float* copy = windows_.rest() + p * length;
    Row row = row_of_window(conv_, corner, at.k, at.i);
    for (int64_t run = 0; run < runs; ++run, to += m, copy += kMR * length) {
      const int64_t begin = corner.x * conv_.in_c + at.j * step + channel;
      *to = point_at_run(conv_, operands_.in, row, {begin, real, length}, copy);
      if (++at.j < row_runs_) continue;
      at.j = 0;
      if (++at.i == conv_.h.kernel) at.i = 0, ++at.k;
      row = row_of_window(conv_, corner, at.k, at.i);
    }
  }

  // Whole vectors of whole groups would read beyond the last channel.
  bool is_cut() const { return plan_.layout.grouped && panel_.columns < kNR; }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  const Scatter& scatter_;
  Scratch& scratch_;
  const BlockWindows& windows_;
  const float* const packed_;
  const Turn turn_;
  const int64_t first_sum_;  // of the panel's in the scratch
  const Panel panel_;
  const int64_t vectors_;
  const int64_t first_input_, row_runs_;
  const SumFunction sum_;   // null but with narrow groups
  Ahead ahead_;             // of the next tile
  float numbers_[2 * kNR];  // copies of the output's
  const Output output_;
};

}  // namespace
}  // namespace resfuse
