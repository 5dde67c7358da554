#include "grad/weight_plan.h"

#include <algorithm>

#include "conv/winograd_choice.h"
#include "conv/winograd_plan.h"

namespace resfuse {
namespace {

// Rows of the result in a unit: a tap of 64 channels and its like keep blocks at 160 pixels and
// more, so that a tile's accumulators are loaded and stored once in so many multiply-adds.
constexpr int64_t kUnitRows = 576;
constexpr int64_t kUnitColumns = 128;
constexpr int64_t kMaxBlockPixels = 384;
// Enough to balance a few threads; more would cost more results to be added.
constexpr int64_t kUnits = 16;

// Winograd: what a block transforms is used for as many products as the other side has channels,
// and the products of all points, 36 x 64 x 64 floats, stay in L2 or near it. So there are fewer
// input channels where the window has a depth, and twice as many of both, and of the tiles of a
// block, where it is a line: measured on 3000x384, 0.54 of the direct algorithm's time in place of
// 0.7.
constexpr int64_t kWinogradChannels = 64;
constexpr int64_t kWinogradBlock = 64;

// Into equal numbers of input channels, of whole cache lines and up to `most` or a line more; and
// whole panels of output channels.
void cut_channels(const Conv& conv, TileShape tile, int64_t most_in, int64_t most_out,
                  WeightPlan& plan) {
  const int64_t in = conv.in_c / plan.groups, out = conv.out_c / plan.groups;
  const int64_t in_size = std::min(in, round_up(ceil_div(in, ceil_div(in, most_in)), 16));
  const int64_t out_size = std::min(round_up(out, tile.nr), most_out);
  plan.inputs = {in_size, ceil_div(in, in_size)};
  plan.outputs = {out_size, ceil_div(out, out_size)};
}

// Cuts `count` pixels or tiles.
void cut_chunks(int64_t count, WeightPlan& plan) {
  const int64_t blocks = std::max<int64_t>(1, ceil_div(count, plan.block_size));
  const int64_t results = plan.groups * plan.inputs.count * plan.outputs.count;
  const int64_t chunks = std::clamp<int64_t>(kUnits / results, 1, blocks);
  const int64_t size = ceil_div(blocks, chunks) * plan.block_size;
  plan.chunks = {size, std::max<int64_t>(1, ceil_div(count, size))};
}

void plan_direct(const Conv& conv, TileShape tile, WeightPlan& plan) {
  const bool grouped = make_layout(conv, tile.nr).grouped;
  plan.algorithm = grouped ? Algorithm::kGrouped : Algorithm::kDirect;
  plan.groups = grouped ? 1 : conv.groups;
  const int64_t taps = conv.taps();
  if (grouped) {
    plan.inputs = {tile.nr, ceil_div(conv.in_c, tile.nr)};
    plan.outputs = {tile.nr, 1};
  } else {
    cut_channels(conv, tile, std::max<int64_t>(16, kUnitRows / taps), kUnitColumns, plan);
  }
  plan.row_floats = padded_row(taps * plan.inputs.size);
  const int64_t fitting = block_floats(kReferenceMachine) / plan.row_floats;
  plan.block_size = std::max<int64_t>(1, std::min({fitting, kMaxBlockPixels, conv.pixels()}));
  cut_chunks(conv.pixels(), plan);
  plan.work_floats = static_cast<size_t>(plan.block_size * (plan.row_floats + tile.nr));
}

void plan_winograd(const Conv& conv, TileShape tile, int64_t output, WeightPlan& plan) {
  plan.algorithm = Algorithm::kWinograd;
  plan.groups = 1;
  plan.tiling = tile_images(conv, output);
  const int64_t times = is_line(conv) ? 2 : 1, depth = plan.tiling.d.size;
  const int64_t channels = times * kWinogradChannels;
  cut_channels(conv, tile, ceil_div(channels, conv.d.kernel), channels, plan);
  const int64_t points = input_points(conv, plan.tiling), in = plan.inputs.size;
  const int64_t tiles = winograd_tiles(conv, plan.tiling);
  plan.block_size = std::clamp<int64_t>(times * kWinogradBlock / depth, 1, tiles);
  cut_chunks(tiles, plan);
  const int64_t panels = ceil_div(plan.outputs.size, tile.nr);
  plan.work_floats = static_cast<size_t>(
      points_floats(points, slices_of(conv, plan.tiling) * plan.block_size, in) +
      points_floats(points, depth * plan.block_size, tile.nr) +
      panels * conv.d.kernel * points_floats(points, in, tile.nr));
}

// Both sides are transformed here.
bool applies(const Conv& conv, TileShape tile) {
  return winograd_applies(conv, tile) && conv.d.stride == 1 && conv.h.stride == 1 &&
         conv.w.stride == 1 && conv.out_c <= kWinogradMaxChannels;
}

// The outputs of a tile's side, or 0 for the direct algorithm.
int64_t weight_output(const Conv& conv, TileShape tile, Choice choice) {
  if (choice == Choice::kDirect || !applies(conv, tile)) return 0;
  const bool channels_pay = conv.in_c >= 32 && conv.out_c >= 32;
  const int64_t output = channels_pay ? output_of_least_work(conv, 4, 16) : 0;
  return output == 0 && choice == Choice::kWinograd ? 4 : output;
}

}  // namespace

std::vector<Phase> weight_phases(const Conv& conv, TileShape tile, Choice choice) {
  const int64_t whole = products(conv, weight_output(conv, tile, choice));
  const bool taps = choice != Choice::kWinograd && cutting_pays(conv, whole);
  return phases(conv, false, taps ? Parts::kTaps : Parts::kPhases);
}

WeightPlan make_weight_plan(const Conv& conv, TileShape tile, Choice choice) {
  WeightPlan plan{};
  if (const int64_t output = weight_output(conv, tile, choice); output > 0)
    plan_winograd(conv, tile, output, plan);
  else
    plan_direct(conv, tile, plan);
  return plan;
}

int64_t weight_threads(const Conv& conv, const WeightPlan& plan, int64_t max_threads) {
  return std::min(plan.units(), useful_threads(multiply_adds(conv), max_threads));
}

WeightUnit weight_unit_at(const Conv& conv, const WeightPlan& plan, int64_t index) {
  WeightUnit unit{};
  unit.chunk = index % plan.chunks.count;
  index /= plan.chunks.count;
  const int64_t outputs = index % plan.outputs.count;
  index /= plan.outputs.count;
  const int64_t inputs = index % plan.inputs.count;
  unit.group = index / plan.inputs.count;
  const int64_t in = conv.in_c / plan.groups, out = conv.out_c / plan.groups;
  unit.first_channel = inputs * plan.inputs.size;
  unit.channels = std::min(plan.inputs.size, in - unit.first_channel);
  const bool grouped = plan.algorithm == Algorithm::kGrouped;
  const int64_t column = grouped ? unit.first_channel : outputs * plan.outputs.size;
  unit.first_column = unit.group * out + column;
  unit.columns = std::min(plan.outputs.size, out - column);
  const bool winograd = plan.algorithm == Algorithm::kWinograd;
  const int64_t count = winograd ? winograd_tiles(conv, plan.tiling) : conv.pixels();
  unit.first = unit.chunk * plan.chunks.size;
  unit.last = std::min(unit.first + plan.chunks.size, count);
  return unit;
}

}  // namespace resfuse
