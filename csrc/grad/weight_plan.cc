#include "grad/weight_plan.h"

#include <algorithm>

namespace resfuse {
namespace {

// A block's windows take 384 KiB of a 1 MiB L2; what a unit adds up, at most as much.
constexpr int64_t kBlockFloats = 96 << 10;
// Rows of the result in a part: a tap of 64 channels and its like keep blocks at 160 pixels and
// more, so that a tile's accumulators are loaded and stored once in so many multiply-adds.
constexpr int64_t kPartRows = 576;
constexpr int64_t kSlabChannels = 128;
constexpr int64_t kMaxBlockPixels = 384;
// Enough to balance a few threads; more would cost more results to be added.
constexpr int64_t kUnits = 16;

int64_t round_up(int64_t value, int64_t step) { return ceil_div(value, step) * step; }

// Winograd: what a block transforms is used for as many products as the other side has channels,
// and the products of all points, 36 x 64 x 64 floats, stay in L2 or near it.
constexpr int64_t kWinogradChannels = 64;
constexpr int64_t kWinogradBlock = 64;

void cut_channels(const Conv& conv, TileShape tile, int64_t part, int64_t slab, WeightPlan& plan) {
  const int64_t in = conv.in_c / plan.groups, out = conv.out_c / plan.groups;
  // Equal parts, of whole cache lines.
  plan.part_channels = std::min(in, round_up(ceil_div(in, ceil_div(in, part)), 16));
  plan.slab_channels = std::min(round_up(out, tile.nr), slab);
  plan.parts = ceil_div(in, plan.part_channels);
  plan.slabs = ceil_div(out, plan.slab_channels);
}

// `count` pixels or tiles.
void cut_chunks(int64_t count, WeightPlan& plan) {
  const int64_t blocks = ceil_div(count, plan.block_size);
  const int64_t results = plan.groups * plan.parts * plan.slabs;
  const int64_t chunks = std::clamp<int64_t>(kUnits / results, 1, std::max<int64_t>(1, blocks));
  plan.chunk_size = std::max<int64_t>(1, ceil_div(blocks, chunks)) * plan.block_size;
  plan.chunks = std::max<int64_t>(1, ceil_div(count, plan.chunk_size));
  plan.units = results * plan.chunks;
}

void plan_direct(const Conv& conv, TileShape tile, WeightPlan& plan) {
  plan.lanes = make_layout(conv, tile.nr).lanes;
  plan.groups = plan.lanes ? 1 : conv.groups;
  const int64_t taps = conv.kernel_h * conv.kernel_w;
  if (plan.lanes) {
    plan.part_channels = plan.slab_channels = tile.nr;
    plan.parts = ceil_div(conv.in_c, tile.nr), plan.slabs = 1;
  } else {
    cut_channels(conv, tile, std::max<int64_t>(16, kPartRows / taps), kSlabChannels, plan);
  }
  // An odd number of cache lines keeps the rows of a block apart in L1.
  plan.row_floats = round_up(taps * plan.part_channels, 16);
  if (plan.row_floats % 32 == 0) plan.row_floats += 16;
  plan.block_size = std::max<int64_t>(
      1, std::min({kBlockFloats / plan.row_floats, kMaxBlockPixels, conv.pixels()}));
  cut_chunks(conv.pixels(), plan);
  plan.work_floats = static_cast<size_t>(plan.block_size * (plan.row_floats + plan.nr));
}

void plan_winograd(const Conv& conv, TileShape tile, int64_t output, WeightPlan& plan) {
  plan.groups = 1;
  plan.tile_output = output;
  plan.tiles_h = ceil_div(conv.out_h, output), plan.tiles_w = ceil_div(conv.out_w, output);
  cut_channels(conv, tile, kWinogradChannels, kWinogradChannels, plan);
  const int64_t tiles = winograd_tiles(conv, output);
  plan.block_size = std::min(kWinogradBlock, tiles);
  cut_chunks(tiles, plan);
  const int64_t points = winograd_points(conv, output);
  plan.work_floats = static_cast<size_t>(
      points_floats(points, plan.block_size, plan.part_channels) +
      points_floats(points, plan.block_size, tile.nr) +
      ceil_div(plan.slab_channels, tile.nr) * points_floats(points, plan.part_channels, tile.nr));
}

// Both sides are transformed here.
bool applies(const Conv& conv, TileShape tile) {
  return winograd_applies(conv, tile) && conv.stride_h == 1 && conv.out_c <= kWinogradMaxChannels;
}

// The outputs of a tile's side that pay, or 0.
int64_t winograd_output(const Conv& conv, TileShape tile) {
  if (!applies(conv, tile) || conv.in_c < 32 || conv.out_c < 32) return 0;
  return output_of_least_work(conv, 4, 16);
}

}  // namespace

WeightPlan make_weight_plan(const Conv& conv, TileShape tile, Choice choice) {
  WeightPlan plan{};
  plan.nr = tile.nr;
  int64_t output = choice == Choice::kDirect ? 0 : winograd_output(conv, tile);
  if (output == 0 && choice == Choice::kWinograd && applies(conv, tile)) output = 4;
  if (output > 0)
    plan_winograd(conv, tile, output, plan);
  else
    plan_direct(conv, tile, plan);
  return plan;
}

int64_t weight_threads(const Conv& conv, const WeightPlan& plan, int64_t max_threads) {
  return std::min(plan.units, useful_threads(conv, max_threads));
}

WeightUnit weight_unit_at(const Conv& conv, const WeightPlan& plan, int64_t index) {
  WeightUnit unit{};
  unit.chunk = index % plan.chunks;
  const int64_t slab = index / plan.chunks % plan.slabs;
  const int64_t part = index / plan.chunks / plan.slabs % plan.parts;
  unit.group = index / plan.chunks / plan.slabs / plan.parts;
  const int64_t in = conv.in_c / plan.groups, out = conv.out_c / plan.groups;
  unit.first_channel = part * plan.part_channels;
  unit.channels = std::min(plan.part_channels, in - unit.first_channel);
  const int64_t column = plan.lanes ? unit.first_channel : slab * plan.slab_channels;
  unit.first_column = unit.group * out + column;
  unit.columns = std::min(plan.slab_channels, out - column);
  unit.first = unit.chunk * plan.chunk_size;
  const int64_t count =
      plan.tile_output == 0 ? conv.pixels() : conv.batch * plan.tiles_h * plan.tiles_w;
  unit.last = std::min(unit.first + plan.chunk_size, count);
  return unit;
}

}  // namespace resfuse
