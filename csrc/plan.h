// How a convolution is cut into work: plain data, from the sizes, the ISA and the thread count.
//
//   panel   NR output channels of one group, the width of a register tile (Winograd: two of them).
//           Its packed weights are read once for all blocks of a unit.
//   block   a run of output pixels, numbered over (batch, out_h, out_w), or of 4x4 tiles of them
//           (Winograd). Sums are kept by block, so blocks follow from the sizes alone.
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
  int mr;  // rows: pixels, or tiles of Winograd
  int nr;  // output channels
};

struct Plan {
  bool winograd;  // F(4x4, 3x3), see winograd.h; otherwise direct.h
  int64_t panels_per_group;
  int64_t block_size, blocks;  // of pixels, or of Winograd's 4x4 tiles
  int64_t unit_blocks, units_per_panel, units;
  int64_t threads;
  // One pass of the register tile reads `pass_runs` whole runs, or `pass_length` of one long run.
  int64_t run_length, runs, pass_length, pass_runs;
  int64_t tiles_h, tiles_w;          // of one image, Winograd
  size_t panel_floats, work_floats;  // scratch of one thread
};

struct Job {
  Conv conv;
  Plan plan;
  Operands operands;
};

// `winograd` allows Winograd's algorithm, which rounds differently; it is taken where it pays.
Plan make_plan(const Conv& conv, TileShape tile, int64_t max_threads, bool winograd);

// At most this many floats of a window go through a pass: copies of windows that hang over the
// image's edge, 12 pixels of them, then fit into half of a 1 MiB L2.
constexpr int64_t kMaxPassFloats = 10240;
// The pointers of a pass: 12 pixels x 64 runs, 6 KiB, stay in L1.
constexpr int64_t kMaxPassRuns = 64;
// Sums are doubles by block: 16 x 3 x 2048 channels are 0.75 MiB.
constexpr int64_t kMaxBlocks = 16;

// 1 MiB of scratch a thread, besides packed weights.
constexpr int64_t kMaxWorkFloats = (1 << 20) / sizeof(float);

// Winograd F(4x4, 3x3): tiles of 4x4 outputs from 6x6 inputs, 36 products each.
constexpr int64_t kWinogradOutput = 4;
constexpr int64_t kWinogradInput = 6;
constexpr int64_t kWinogradPoints = kWinogradInput * kWinogradInput;
// A panel is two register tiles wide, so that half as many panels transform the input again.
constexpr int64_t kWinogradPanel = 2;
// Between the points' matrices lies one cache line, or all 36 would fall into the same set.
constexpr int64_t kWinogradPad = 16;

}  // namespace resfuse
