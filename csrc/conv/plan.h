// How a convolution is cut into work: plain data, from the sizes, the ISA and the thread count.
//
//   panel   NR output channels, the width of a register tile; see pack.h.
//   block   a run of output pixels, numbered over (batch, out_h, out_w), or of tiles of them
//           (Winograd), whose inputs fit the cache. Sums are kept by block, so in training blocks
//           follow from the sizes alone.
//   unit    some panels of some blocks: what a thread takes at a time. In it every block meets all
//           panels in turn, so an image is read from memory once.
//   run     floats of a pixel's window that lie side by side in the image: a whole row of the
//           window (kernel_w * in_c), or with groups one pixel of it (in_c / groups).

#pragma once

#include <cstddef>
#include <cstdint>

#include "conv/conv.h"
#include "conv/pack.h"

namespace resfuse {

struct TileShape {
  int mr;  // rows: pixels, or tiles of Winograd
  int nr;  // output channels
};

enum class Algorithm { kDirect, kLanes, kWinograd };
// What the caller allows: the fastest, or one in particular where it applies.
enum class Choice { kFastest, kDirect, kWinograd };

struct Plan {
  Algorithm algorithm;
  Layout layout;
  bool pack_first;             // the call packs all weights before anything else
  bool packed;                 // do units find them packed? If not, each packs its own panels
  int64_t block_size, blocks;  // of pixels, or of Winograd's tiles
  int64_t unit_panels, unit_blocks;
  int64_t panel_units, block_units, units;  // units = panel_units * block_units
  int64_t threads;
  bool pointwise;  // 1x1, stride 1, no padding: the windows lie side by side as they are
  bool gathers;    // copies a block's windows to lie so, `row_floats` apart
  int64_t row_floats;
  bool shares_rows;  // groups: the pointers to a block's windows are found once for all panels
  // Direct: one pass of the register tile reads `pass_runs` whole runs, or `pass_length` of one.
  int64_t run_length, runs, pass_length, pass_runs;
  // Winograd: a tile's outputs (5 to 2 a side), tiles of one image, and how many channels'
  // transformed weights are there at a time: all of the unit's, kept from block to block, or a part
  // of one panel's.
  int64_t tile_output, tiles_h, tiles_w, part_channels;
  bool resident;
  size_t packed_floats, work_floats;  // scratch of one thread
};

struct Job {
  Conv conv;
  Plan plan;
  Operands operands;
};

struct Unit {
  int64_t first_panel, last_panel, first_block, last_block;
};

struct Request {
  Choice choice;
  bool packed;  // the weights came so
  bool training;
  int64_t max_threads;
};

int64_t ceil_div(int64_t a, int64_t b);
// Winograd's tiles of `output` x `output` pixels.
int64_t winograd_tiles(const Conv& conv, int64_t output);
// The points of such a tile's side: as many as inputs.
int64_t winograd_points(const Conv& conv, int64_t output);
// Floats of `points` a side, each a matrix of `rows` by `columns`.
int64_t points_floats(int64_t points, int64_t rows, int64_t columns);
// The outputs of a tile's side that need the least work, counted in products for each pair of an
// input and an output channel: one for each point of each tile, also where the image ends within
// it, and 5/2 for each point of the transformed weights. From 2 to `largest`, with stride 2 only 2
// or 4; or 0, if direct convolution, 9 products for each output, is not clearly more, or there are
// fewer tiles.
int64_t output_of_least_work(const Conv& conv, int64_t largest, int64_t fewest_tiles);
// Whether Winograd's algorithm computes this at all.
bool winograd_applies(const Conv& conv, TileShape tile);
// The room that a pixel's shared pointers take.
int64_t pointer_floats(const Plan& plan);
// As many threads as are worth waking.
int64_t useful_threads(const Conv& conv, int64_t max_threads);
Plan make_plan(const Conv& conv, TileShape tile, const Request& request);
// One panel of the weights, which did not come packed.
void pack_panel(const Job& job, int64_t panel, float* to);
Unit unit_at(const Plan& plan, int64_t index);

// At most this many floats of a window go through a pass: copies of windows that hang over the
// image's edge, 12 pixels of them, then fit into half of a 1 MiB L2.
constexpr int64_t kMaxPassFloats = 10240;
// The pointers of a pass: 12 pixels x 64 runs, 6 KiB, stay in L1.
constexpr int64_t kMaxPassRuns = 64;
// Sums are doubles by block: 1024 x 3 x 64 channels are 1.5 MiB.
constexpr int64_t kMaxBlocks = 1024;

// Between the matrices of Winograd's points lies one cache line, or all would fall into the same
// set.
constexpr int64_t kWinogradPad = 16;
// No more input channels than this, or a pixel's worth of zeros would outgrow kZeros.
constexpr int64_t kWinogradMaxChannels = kMaxPassFloats;

}  // namespace resfuse
