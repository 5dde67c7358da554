#include "conv/plan.h"

#include <algorithm>

namespace resfuse {
namespace {

// Few blocks are as many for each thread.
int64_t balanced(int64_t blocks, int64_t threads) {
  return blocks < 8 * threads ? ceil_div(blocks, threads) * threads : blocks;
}

// From this many pixels on, packing all weights before anything else costs less than reading the
// images again for each panel. Below, units pack their own panels, which then stay in the cache.
constexpr int64_t kPackFirstPixels = 64;

// Below this many multiply-adds a thread (about 20 us) waking helpers costs more than it saves.
constexpr double kThreadWork = 1 << 20;
// A block's inputs, in floats: 384 KiB of a 1 MiB L2, the rest being for weights and outputs.
constexpr int64_t kBlockFloats = 96 << 10;
// Winograd's transformed weights stay from block to block up to 2.4 MiB: they are read from L3 once
// a block. Beyond, the weights of a part of the channels are transformed again for each block, of
// up to 64 tiles then, as many as have 6.6 MiB of transformed inputs: 90 cycles for each 16 weights
// against 36 a tile for their products. Measured on 14x14x256: parts of 128 channels are 10 %
// faster than of 64, and blocks of 64 tiles than of 32.
constexpr int64_t kResidentFloats = 600 << 10;
constexpr int64_t kStreamedFloats = 1700 << 10;
constexpr int64_t kMaxWinogradTiles = 64;
constexpr int64_t kPartChannels = 128;

// Weights that did not come packed are all packed first where that pays.
void pack_first_if(bool pays, Plan& plan) {
  plan.pack_first = pays && !plan.packed;
  plan.packed = plan.packed || pays;
}

// About four units a thread balance the load. Packed weights are cut by blocks first, so that a
// unit's images are read once; others by panels first, so that a panel is packed once.
void cut_units(Plan& plan, int64_t max_panels) {
  const int64_t blocks = std::max<int64_t>(1, plan.blocks), panels = plan.layout.panels;
  const int64_t wanted = plan.threads == 1 ? 1 : 4 * plan.threads;
  if (plan.packed && plan.resident && plan.blocks * plan.block_size < panels * plan.layout.nr) {
    // Each thread transforms the weights of its panels, and all inputs: fewer tiles than output
    // channels are less work to do twice.
    plan.unit_blocks = blocks;
    plan.unit_panels = ceil_div(panels, std::min(plan.threads, panels));
  } else if (plan.packed) {
    plan.unit_blocks = plan.threads == 1 ? blocks : 1;
    const int64_t parts = plan.resident ? 1 : ceil_div(wanted, blocks);
    plan.unit_panels = std::min(max_panels, ceil_div(panels, std::min(parts, panels)));
  } else {
    plan.unit_panels = std::min(max_panels, panels);
    const int64_t parts = ceil_div(wanted, ceil_div(panels, plan.unit_panels));
    plan.unit_blocks = ceil_div(blocks, std::min(parts, blocks));
  }
  plan.panel_units = ceil_div(panels, plan.unit_panels);
  plan.block_units = ceil_div(plan.blocks, plan.unit_blocks);
  plan.units = plan.panel_units * plan.block_units;
  plan.threads = std::min(plan.threads, std::max<int64_t>(1, plan.units));
  if (!plan.packed)
    plan.packed_floats = static_cast<size_t>(plan.unit_panels * plan.layout.panel_floats());
}

// Copying a block's windows pays where runs are short, as in a stem of three channels; and where
// pixels lie a multiple of a page apart, so that the rows of a tile would fall into one set of L1.
bool gathers(const Conv& conv, const Plan& plan) {
  if (conv.groups > 1 || conv.reduction() > kMaxPassFloats) return false;
  const bool short_runs = plan.runs > 1 && plan.run_length < 32;
  const bool same_set = plan.runs == 1 && conv.kernel_w == 1 && conv.in_c % 1024 == 0;
  return short_runs || same_set;
}

// Where the tile finds its inputs.
void plan_windows(const Conv& conv, TileShape tile, Plan& plan) {
  plan.run_length = conv.groups == 1 ? conv.kernel_w * conv.in_c : conv.group_in();
  plan.runs = conv.reduction() / plan.run_length;
  if (plan.layout.lanes) plan.run_length = tile.nr, plan.runs = plan.layout.taps;
  plan.pass_length = std::min(plan.run_length, kMaxPassFloats);
  plan.pass_runs =
      std::clamp<int64_t>(kMaxPassFloats / plan.run_length, 1, std::min(plan.runs, kMaxPassRuns));
  plan.pointwise = conv.groups == 1 && conv.kernel_h * conv.kernel_w == 1 &&
                   conv.stride_h * conv.stride_w == 1 && conv.out_h == conv.in_h &&
                   conv.out_w == conv.in_w && conv.pad_top == 0 && conv.pad_left == 0;
  plan.gathers = gathers(conv, plan);
  // A vector's room beyond the window; an odd number of cache lines keeps rows apart in L1.
  plan.row_floats = ceil_div(conv.reduction() + 15, 16) * 16;
  if (plan.row_floats % 32 == 0) plan.row_floats += 16;
  // With a single pass, and a panel that is not cut; and the zeros outside the image are long
  // enough for the last panel.
  const bool single_pass = plan.pass_runs == plan.runs && plan.pass_length == plan.run_length;
  const bool whole_panel = !plan.layout.lanes || conv.out_c >= tile.nr;
  plan.shares_rows = conv.groups > 1 && single_pass && whole_panel && conv.in_c <= kMaxPassFloats;
}

// Of whole tiles. In training sums are kept by block: those must not depend on the threads, nor be
// too many.
int64_t direct_block_size(const Conv& conv, TileShape tile, bool training, const Plan& plan) {
  const int64_t tiles = std::max<int64_t>(1, ceil_div(conv.pixels(), tile.mr));
  const int64_t input_floats = conv.in_c * conv.stride_h * conv.stride_w + pointer_floats(plan);
  const int64_t pixel_floats = plan.gathers ? plan.row_floats : input_floats;
  const int64_t fitting = std::max<int64_t>(1, kBlockFloats / pixel_floats / tile.mr);
  const int64_t blocks = ceil_div(tiles, fitting);
  if (training) return ceil_div(tiles, std::min(blocks, kMaxBlocks)) * tile.mr;
  // Of a single block, threads share the panels: each reads all inputs, which stay in its L2, and
  // its part of the weights, where two blocks would have both read all weights.
  const int64_t weights = plan.layout.panels * plan.layout.panel_floats();
  const bool panels_apart = blocks == 1 && conv.pixels() * conv.in_c < weights;
  return ceil_div(tiles, panels_apart ? 1 : balanced(blocks, plan.threads)) * tile.mr;
}

void plan_direct(const Conv& conv, TileShape tile, bool training, Plan& plan) {
  plan.algorithm = plan.layout.lanes ? Algorithm::kLanes : Algorithm::kDirect;
  plan_windows(conv, tile, plan);
  plan.block_size = direct_block_size(conv, tile, training, plan);
  plan.blocks = ceil_div(conv.pixels(), plan.block_size);
  const int64_t copies = plan.pass_runs * plan.pass_length * tile.mr;
  const int64_t block_floats =
      plan.block_size * (plan.gathers ? plan.row_floats : pointer_floats(plan));
  plan.work_floats = static_cast<size_t>(block_floats + (plan.gathers ? 0 : copies));
  pack_first_if(conv.pixels() >= kPackFirstPixels, plan);
  cut_units(plan, plan.packed ? plan.layout.panels : 1);
}

// Transforms must be few beside the products, so there must be some channels. Errors grow with
// them: beyond 1024, or in tiles of 5x5 beyond 512, they would pass 2e-5 of the largest output. And
// 5x5 have a third more transformed weights, which few tiles do not repay: one image of 14x14x256
// in a network at batch 1 took 1.07 times as long, eight 0.87.
int64_t winograd_output(const Conv& conv) {
  const bool channels_pay = conv.in_c >= 32 && conv.in_c <= 1024 && conv.out_c >= 32;
  const bool fives_pay = conv.in_c <= 512 && winograd_tiles(conv, 5) >= 24;
  return channels_pay ? output_of_least_work(conv, fives_pay ? 5 : 4, 1) : 0;
}

void plan_winograd(const Conv& conv, TileShape tile, int64_t output, bool training, Plan& plan) {
  plan.algorithm = Algorithm::kWinograd;
  plan.tile_output = output;
  plan.tiles_h = ceil_div(conv.out_h, output);
  plan.tiles_w = ceil_div(conv.out_w, output);
  const int64_t points = winograd_points(conv, output), kernel_points = output + 2;
  const int64_t panel_floats = points_floats(kernel_points, conv.in_c, tile.nr);
  plan.resident = plan.layout.panels * panel_floats <= kResidentFloats;
  const int64_t fitting = (plan.resident ? kBlockFloats : kStreamedFloats) /
                          points_floats(points, 1, conv.in_c) / tile.mr * tile.mr;
  const int64_t tiles = winograd_tiles(conv, output);
  plan.blocks = ceil_div(tiles, std::clamp<int64_t>(fitting, tile.mr, kMaxWinogradTiles));
  // Where U is transformed for each block, more blocks would cost more than they balance. In
  // training sums are kept by block, so blocks must not depend on the threads.
  if (plan.resident && !training) plan.blocks = balanced(plan.blocks, plan.threads);
  plan.block_size = ceil_div(tiles, plan.blocks);
  plan.blocks = ceil_div(tiles, plan.block_size);
  plan.part_channels = plan.resident ? conv.in_c : std::min(conv.in_c, kPartChannels);
  // A single block meets each panel once.
  pack_first_if(plan.blocks > 1, plan);
  cut_units(plan, plan.packed ? plan.layout.panels : 2);
  const int64_t inputs = ceil_div(conv.in_c, plan.part_channels) *
                         points_floats(points, plan.block_size, plan.part_channels);
  const int64_t weights = (plan.resident ? plan.unit_panels : 1) *
                          points_floats(kernel_points, plan.part_channels, tile.nr);
  plan.work_floats =
      static_cast<size_t>(inputs + weights + points_floats(points, plan.block_size, tile.nr));
}

}  // namespace

int64_t pointer_floats(const Plan& plan) {
  constexpr auto kPointerFloats = static_cast<int64_t>(sizeof(intptr_t) / sizeof(float));
  return plan.shares_rows ? plan.runs * kPointerFloats : 0;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t winograd_tiles(const Conv& conv, int64_t output) {
  return conv.batch * ceil_div(conv.out_h, output) * ceil_div(conv.out_w, output);
}

int64_t winograd_points(const Conv& conv, int64_t output) {
  return (output - 1) * conv.stride_h + 3;
}

int64_t points_floats(int64_t points, int64_t rows, int64_t columns) {
  return points * points * (rows * columns + kWinogradPad);
}

int64_t output_of_least_work(const Conv& conv, int64_t largest, int64_t fewest_tiles) {
  // A fifth of direct convolution's work must remain for the transforms of inputs and outputs.
  int64_t best = 0, least = conv.pixels() * 9 * 4 / 5;
  for (int64_t output = largest; output > 1; --output) {
    if (conv.stride_h == 2 && output != 4 && output != 2) continue;
    const int64_t points = winograd_points(conv, output), kernel_points = output + 2;
    const int64_t tiles = winograd_tiles(conv, output);
    const int64_t work = points * points * tiles + kernel_points * kernel_points * 5 / 2;
    if (tiles < fewest_tiles || work >= least) continue;
    best = output;
    least = work;
  }
  return best;
}

bool winograd_applies(const Conv& conv, TileShape tile) {
  // Transforms work on whole vectors of input channels.
  return conv.kernel_h == 3 && conv.kernel_w == 3 && conv.stride_h <= 2 &&
         conv.stride_w == conv.stride_h && conv.groups == 1 && conv.in_c % (tile.nr / 2) == 0 &&
         conv.in_c <= kWinogradMaxChannels && conv.pixels() > 0;
}

int64_t useful_threads(const Conv& conv, int64_t max_threads) {
  const double work = static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c) *
                      static_cast<double>(conv.reduction());
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::min(work / kThreadWork, static_cast<double>(max_threads))));
}

Plan make_plan(const Conv& conv, TileShape tile, const Request& request) {
  Plan plan{};
  plan.layout = make_layout(conv, tile.nr);
  plan.packed = request.packed;
  plan.threads = useful_threads(conv, request.max_threads);
  const bool allowed = request.choice != Choice::kDirect && winograd_applies(conv, tile);
  int64_t output = allowed ? winograd_output(conv) : 0;
  if (allowed && request.choice == Choice::kWinograd && output == 0) output = 4;
  if (output > 0)
    plan_winograd(conv, tile, output, request.training, plan);
  else
    plan_direct(conv, tile, request.training, plan);
  return plan;
}

void pack_panel(const Job& job, int64_t panel, float* to) {
  const Operands& from = job.operands;
  if (from.transposed)
    pack_panel_transposed(job.conv, job.plan.layout, *from.transposed, from.kernel, panel, to);
  else
    pack_panel(job.conv, job.plan.layout, from.kernel, panel, to);
}

Unit unit_at(const Plan& plan, int64_t index) {
  // Neighbours share blocks if the weights are packed, so that a transformed block is used again,
  // and panels if not.
  const int64_t panel = plan.packed ? index % plan.panel_units : index / plan.block_units;
  const int64_t block = plan.packed ? index / plan.panel_units : index % plan.block_units;
  const int64_t first_panel = panel * plan.unit_panels, first_block = block * plan.unit_blocks;
  return {first_panel, std::min(first_panel + plan.unit_panels, plan.layout.panels), first_block,
          std::min(first_block + plan.unit_blocks, plan.blocks)};
}

}  // namespace resfuse
