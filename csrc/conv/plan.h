// How a convolution is cut into work: plain data, from the sizes, the instruction set, the threads
// and the caches. README.md says what a panel, a block, a unit, a run and a pass are.
//
// Which operations make an output, and in which order, follows from the sizes and the instruction
// set alone: from the algorithm, the passes (Passes, WinogradPlan::pass_channels) and the size of
// Winograd's tiles; and in training, whose sums are kept by block, from the blocks as well. Caches
// and threads decide the rest.

#pragma once

#include <cstddef>
#include <cstdint>

#include "base/arithmetic.h"
#include "base/machine.h"
#include "conv/conv.h"
#include "conv/pack.h"
#include "conv/phases.h"

namespace resfuse {

// The register tile of an instruction set.
struct TileShape {
  int mr;  // rows: pixels, or tiles of Winograd
  int nr;  // output channels
};

enum class Algorithm { kDirect, kGrouped, kWinograd };
// What the caller allows: the fastest, or one in particular where it applies.
enum class Choice { kFastest, kDirect, kWinograd };

// Who packs the weights.
enum class Packing {
  kCaller,  // they came packed
  kCall,    // the call, all of them before anything else
  kUnit,    // each unit its own panels
};

// Where the register tile finds its inputs.
enum class Inputs {
  kPointwise,  // in the image itself: windows of 1x1 with stride 1 lie side by side in it
  kGathered,   // in copies of a block's windows, which all panels share, after a prologue if any
  kStrided,    // in the image itself, where the windows of neighbours in a row lie a stride apart
  kShared,     // by pointers to a block's windows, which all panels share
  kWindows,    // by pointers that each tile finds for each pass
  kRows,       // along the rows of the image itself: depthwise
};

// The way of a window through the register tile: a pass reads `pass_runs` whole runs, or
// `pass_length` floats of one.
struct Passes {
  int64_t run_length, runs, pass_length, pass_runs;
};

// Grouped convolution is direct as well: only its panels hold whole groups, and its runs are taps.
struct DirectPlan {
  Inputs inputs;
  Passes passes;
  int64_t pixel_floats;  // what a pixel of a block takes in the work space: its copy or pointers
  int64_t copy_floats;   // what copies of a tile's runs that hang over an edge take
  int64_t strip;         // of kRows: channels that go through the rows of outputs together
  bool brings_block;     // its inputs, into L2, before its first panel
};

// Winograd's tiles along one side of an image, `outputs` each. A dilated window meets pixels
// `dilation` apart, and so do the outputs of a tile lie: as many tiles interleave, side by side.
struct TilingSide {
  int64_t outputs, dilation, tiles;
};

// The tiles of an image, and the slices of its depth that one has at a time.
struct Tiling {
  Cut d;
  TilingSide h, w;
};

// Output slices that meet the same taps of the depth inside the image, the first of both and their
// numbers.
struct Stretch {
  int64_t z, slices, tap, taps;
};

// In a depth of so many slices, those at its ends leave out what their windows meet outside of the
// image: a third of the products of two slices, a sixth of four. In a deeper one they are less, and
// the slices at its ends too few for the rows of a register tile.
constexpr int64_t kShallow = 4;

struct WinogradPlan {
  Tiling tiling;
  Stretch stretches[kShallow];  // of a tile's output slices
  int64_t stretch_count;
  int64_t pass_channels;  // input channels whose products are added up in registers
  bool resident;          // the unit's transformed weights stay from block to block
};

struct Plan {
  Algorithm algorithm;
  Layout layout;
  Packing packing;
  Cut blocks;                    // of pixels, or of Winograd's tiles
  Cut unit_panels, unit_blocks;  // a unit is one of these times one of those
  int64_t threads;
  bool scales_weights;                // by a prologue's numbers, for each image
  size_t packed_floats, work_floats;  // scratch of one thread
  DirectPlan direct;                  // of direct and grouped convolution
  WinogradPlan winograd;

  int64_t units() const { return unit_panels.count * unit_blocks.count; }
  // Whether a unit has its weights in the scratch.
  bool copies_weights() const { return packing == Packing::kUnit || scales_weights; }
};

// What stands before a convolution, of single pixels.
enum class Images {
  kPlain,        // nothing
  kScaled,       // one part, whose channels are scaled
  kTransformed,  // anything else
};

struct Request {
  Choice choice;
  bool packed;  // the weights came so
  bool training;
  int64_t max_threads;
  Images images = Images::kPlain;
  double others = 0.0;  // the work of other convolutions, for which the threads are awake as well
};

// `taps` are the convolution's, among all that are packed.
Plan make_plan(const Conv& conv, const Taps& taps, TileShape tile, const Machine& machine,
               const Request& request);

struct Unit {
  int64_t first_panel, last_panel, first_block, last_block;
};

Unit unit_at(const Plan& plan, int64_t index);

// A phase of a convolution as it is planned: all of it where the image is not dilated.
struct PlannedPhase : Phase {
  Plan plan;
};

// A call of it, with arrays of its own.
struct Job {
  Job(const PlannedPhase& phase, const Operands& of_call)
      : conv(phase.conv),
        taps(phase.taps),
        scatter(phase.scatter),
        plan(phase.plan),
        operands(of_call) {}

  const Conv& conv;
  const Taps& taps;
  const Scatter& scatter;
  const Plan& plan;
  Operands operands;
};

// One panel of the weights, which did not come packed.
void pack_panel(const Job& job, int64_t panel, float* to);

// One thread's scratch, 64-byte aligned, and what is still in it from the unit before: of which
// job, the first of the packed or transformed panels, the block whose inputs are prepared, and the
// first of the scaled panels, counted through all images.
struct Memory {
  char* bytes;
  size_t job = 0;
  int64_t packed_panel = -1, transformed_panel = -1, prepared_block = -1, scaled_panel = -1;
};

// Those of all outputs, one each at least; or those that pass while the weights come from memory.
double multiply_adds(const Conv& conv);
// What a float from L3, or out of another core's L2, takes in multiply-adds: 20 GB/s of a core
// beside 85e9 of them a second. So a depthwise 14x14x576 takes 55 us, as measured, and 1280 to 1000
// channels of a single pixel 250, where their multiply-adds would take 12 and 15.
constexpr double kFloatWork = 16.0;
// The time of a convolution whose arrays come from L3, in multiply-adds: these, and its floats.
double work_of(const Conv& conv);
// As many threads as are worth waking for so much work.
int64_t useful_threads(double work, int64_t max_threads);
// `blocks` or a few more: few blocks are as many for each thread.
int64_t balanced(int64_t blocks, int64_t threads);
// The floats of a block's inputs, or of what is made of them: 384 KiB of a 1 MiB L2, the rest being
// for weights and outputs.
int64_t block_floats(const Machine& machine);
// From one copy of a window to the next: an odd number of cache lines keeps copies apart in L1.
int64_t padded_row(int64_t floats);

// Channels of a strip, for whose scales and shifts a thread has room: pixels of more are a page
// apart as well.
constexpr int64_t kMaxStrip = 1024;

// These decide the order of sums, so they are the same on every machine. A pass takes at most so
// many floats of a window: copies of windows that hang over the image's edge, 12 pixels of them,
// fit into half of a 1 MiB L2.
constexpr int64_t kMaxPassFloats = 10240;
// The pointers of a pass: 12 pixels x 64 runs, 6 KiB, stay in L1.
constexpr int64_t kMaxPassRuns = 64;
// In training, sums are doubles by block: 1024 x 3 x 64 channels are 1.5 MiB.
constexpr int64_t kMaxBlocks = 1024;

}  // namespace resfuse
