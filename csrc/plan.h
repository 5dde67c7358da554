// How a convolution is cut into work: plain data, from the sizes, the ISA and the thread count.
//
//   panel   NR output channels of one group: the width of a register tile; its packed weights
//           (reduction x NR) are read once for all pixels of a unit.
//   block   a run of output pixels, numbered over (batch, out_h, out_w). Sums are kept by block, so
//           blocks follow from the sizes alone.
//   unit    a panel times some blocks: what a thread takes at a time. Units with the same panel are
//           neighbours, so a thread seldom packs twice.
//   run     floats of a pixel's window that lie side by side in the image: a whole row of the
//           window (kernel_w * in_c), or with groups one pixel of it (in_c / groups).

#pragma once

#include <cstddef>
#include <cstdint>

#include "conv.h"

namespace resfuse {

struct TileShape {
  int mr;  // pixels
  int nr;  // output channels
};

struct Plan {
  int64_t panels_per_group;
  int64_t block_pixels, blocks;
  int64_t unit_blocks, units_per_panel, units;
  int64_t run_length, runs;
  // One pass of the register tile reads `pass_runs` whole runs, or `pass_length` of one long run.
  int64_t pass_length, pass_runs;
  int64_t threads;
  size_t panel_floats, window_floats;  // scratch of one thread
};

Plan make_plan(const Conv& conv, TileShape tile, int64_t max_threads);

// At most this many floats of a window go through a pass: copies of windows that hang over the
// image's edge, 12 pixels of them, then fit into half of a 1 MiB L2.
constexpr int64_t kMaxPassFloats = 10240;
// The pointers of a pass: 12 pixels x 64 runs, 6 KiB, stay in L1.
constexpr int64_t kMaxPassRuns = 64;
// Sums are doubles by block: 16 x 3 x 2048 channels are 0.75 MiB.
constexpr int64_t kMaxBlocks = 16;

}  // namespace resfuse
