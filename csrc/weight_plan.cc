#include "weight_plan.h"

#include <algorithm>

namespace resfuse {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

void cut_channels(const Conv& conv, TileShape tile, WeightPlan& plan) {
  plan.nr = tile.nr;
  plan.lanes = make_layout(conv, tile.nr).lanes;
  plan.groups = plan.lanes ? 1 : conv.groups;
  const int64_t taps = conv.kernel_h * conv.kernel_w;
  const int64_t in = conv.in_c / plan.groups, out = conv.out_c / plan.groups;
  // Equal parts, of whole cache lines.
  const int64_t fitting = std::max<int64_t>(16, kPartRows / taps);
  plan.part_channels =
      plan.lanes ? tile.nr : std::min(in, round_up(ceil_div(in, ceil_div(in, fitting)), 16));
  plan.slab_channels = plan.lanes ? tile.nr : std::min(round_up(out, tile.nr), kSlabChannels);
  plan.parts = ceil_div(in, plan.part_channels);
  plan.slabs = plan.lanes ? 1 : ceil_div(out, plan.slab_channels);
}

}  // namespace

WeightPlan make_weight_plan(const Conv& conv, TileShape tile) {
  WeightPlan plan{};
  cut_channels(conv, tile, plan);
  // An odd number of cache lines keeps the rows of a block apart in L1.
  plan.row_floats = round_up(conv.kernel_h * conv.kernel_w * plan.part_channels, 16);
  if (plan.row_floats % 32 == 0) plan.row_floats += 16;
  const int64_t pixels = conv.pixels();
  plan.block_pixels =
      std::max<int64_t>(1, std::min({kBlockFloats / plan.row_floats, kMaxBlockPixels, pixels}));
  const int64_t blocks = ceil_div(pixels, plan.block_pixels);
  const int64_t results = plan.groups * plan.parts * plan.slabs;
  plan.chunks = std::clamp<int64_t>(kUnits / results, 1, std::max<int64_t>(1, blocks));
  plan.chunk_pixels = ceil_div(blocks, plan.chunks) * plan.block_pixels;
  plan.chunks = std::max<int64_t>(1, ceil_div(pixels, std::max<int64_t>(1, plan.chunk_pixels)));
  plan.units = results * plan.chunks;
  plan.work_floats = static_cast<size_t>(plan.block_pixels * (plan.row_floats + plan.nr));
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
  unit.first_pixel = unit.chunk * plan.chunk_pixels;
  unit.last_pixel = std::min(unit.first_pixel + plan.chunk_pixels, conv.pixels());
  return unit;
}

}  // namespace resfuse
