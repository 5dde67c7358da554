#include "conv/winograd_plan.h"

#include <algorithm>

namespace resfuse {
namespace {

// Output slices of a tile: their windows of 3 meet two slices more, a sixteenth to transform twice.
constexpr int64_t kMaxDepth = 32;

// A single block meets its weights once. Of several, transformed weights stay from block to block
// up to 2.4 MiB for an L2 of 1 MiB: they are read from L3 once a block, and what a block has to do
// for it grows with L2. Beyond, they are transformed again for each block, of up to 64 tiles then,
// as many as have 6.6 MiB of transformed inputs: 90 cycles for each 16 weights against 36 a tile
// for their products. Measured on 14x14x256: blocks of 64 tiles are 10 % faster than of 32.
constexpr int64_t kResidentFloats = 600 << 10;
constexpr int64_t kStreamedFloats = 1700 << 10;
constexpr int64_t kMaxBlockTiles = 64;

// Products of all input channels are added up in one pass where the transformed weights are no more
// than this, else those of 128 channels: of one panel, they then stay in L2. Measured on 14x14x256:
// 128 channels are 10 % faster than 64. This decides the order of sums, so it is the same on every
// machine.
constexpr int64_t kOnePassFloats = 600 << 10;
constexpr int64_t kPassChannels = 128;

// Tiles of neighbours interleave: the first dilation * outputs pixels are as many tiles as the
// dilation, and what is left over begins as many of them as it has pixels.
TilingSide tile_side(const Side& side, int64_t output) {
  const int64_t outputs = is_transformed(side) ? output : 1;
  const int64_t dilation = is_transformed(side) ? side.window_dilation : 1;
  const int64_t together = dilation * outputs;
  return {outputs, dilation,
          side.out / together * dilation + std::min(side.out % together, dilation)};
}

int64_t input_points(const Side& side, const TilingSide& tiling) {
  return is_transformed(side) ? (tiling.outputs - 1) * side.stride + side.kernel : 1;
}

// The weights of a kernel's side are transformed to so many points: with stride 2 the odd inputs
// share one.
int64_t kernel_points(const Side& side, const TilingSide& tiling) {
  if (side.stride == 2) return is_transformed(side) ? tiling.outputs + 2 : 1;
  return input_points(side, tiling);
}

// Of all panels.
int64_t weights_floats(const Conv& conv, const Layout& layout, const Tiling& tiling) {
  return layout.panels *
         points_floats(kernel_points(conv, tiling), conv.d.kernel * conv.in_c, layout.nr);
}

// Of one output slice.
Stretch stretch_at(const Side& depth, int64_t z) {
  const int64_t step = depth.window_dilation, begin = z * depth.stride - depth.pad;
  const int64_t first = begin >= 0 ? 0 : std::min(ceil_div(-begin, step), depth.kernel);
  const int64_t last =
      begin >= depth.in ? 0 : std::min(ceil_div(depth.in - begin, step), depth.kernel);
  return {z, 1, first, std::max<int64_t>(0, last - first)};
}

void cut_depth(const Side& depth, WinogradPlan& winograd) {
  winograd.stretches[0] = {0, winograd.tiling.d.size, 0, depth.kernel};
  winograd.stretch_count = 1;
  if (depth.out > kShallow) return;
  winograd.stretches[0] = stretch_at(depth, 0);
  for (int64_t z = 1; z < depth.out; ++z) {
    Stretch& last = winograd.stretches[winograd.stretch_count - 1];
    const Stretch next = stretch_at(depth, z);
    if (next.tap == last.tap && next.taps == last.taps)
      ++last.slices;
    else
      winograd.stretches[winograd.stretch_count++] = next;
  }
}

// The tiles of a block whose transformed inputs take so many floats.
int64_t block_tiles(const Conv& conv, const Tiling& tiling, int64_t floats) {
  const int64_t slice = points_floats(input_points(conv, tiling), 1, conv.in_c);
  // Lines have a sixth of the points, so six times as many tiles take the same.
  const int64_t most = kMaxBlockTiles * (is_line(conv) ? 6 : 1) / tiling.d.size;
  return std::min(floats / (slices_of(conv, tiling) * slice), std::max<int64_t>(1, most));
}

// Of a single block, threads share the tiles, each with all weights to transform, or the panels,
// each with all inputs, of which the other has written half. One image of 28x28x128 on two threads
// takes 0.9 of the time by tiles, 14x14x256 1.2, 14x14x256 with stride 2 1.02.
bool sharing_tiles_pays(const Conv& conv, int64_t tiles, int64_t fewest) {
  return 4 * tiles >= conv.out_c && tiles >= fewest;
}

int64_t block_share(const WinogradPlan& winograd, const Machine& machine) {
  return winograd.resident ? block_floats(machine) : share_of_l2(machine, kStreamedFloats);
}

}  // namespace

bool is_transformed(const Side& side) { return side.kernel > 1; }

bool is_line(const Conv& conv) { return is_transformed(conv.h) != is_transformed(conv.w); }

Tiling tile_images(const Conv& conv, int64_t output) {
  const int64_t depth = ceil_div(conv.d.out, ceil_div(conv.d.out, kMaxDepth));
  return {
      {depth, ceil_div(conv.d.out, depth)}, tile_side(conv.h, output), tile_side(conv.w, output)};
}

int64_t winograd_tiles(const Conv& conv, const Tiling& tiling) {
  return conv.batch * tiling.d.count * tiling.h.tiles * tiling.w.tiles;
}

int64_t slices_of(const Conv& conv, const Tiling& tiling) {
  return (tiling.d.size - 1) * conv.d.stride + (conv.d.kernel - 1) * conv.d.window_dilation + 1;
}

int64_t input_points(const Conv& conv, const Tiling& tiling) {
  return input_points(conv.h, tiling.h) * input_points(conv.w, tiling.w);
}

int64_t kernel_points(const Conv& conv, const Tiling& tiling) {
  return kernel_points(conv.h, tiling.h) * kernel_points(conv.w, tiling.w);
}

int64_t points_floats(int64_t points, int64_t rows, int64_t columns) {
  return points * (rows * columns + kWinogradPad);
}

WinogradPlan plan_winograd(const Conv& conv, const Layout& layout, const Machine& machine,
                           int64_t output) {
  WinogradPlan winograd{};
  winograd.tiling = tile_images(conv, output);
  cut_depth(conv.d, winograd);
  const int64_t floats = weights_floats(conv, layout, winograd.tiling);
  const int64_t part = round_up(ceil_div(kPassChannels, conv.d.kernel), layout.nr / 2);
  winograd.pass_channels = floats <= kOnePassFloats ? conv.in_c : std::min(conv.in_c, part);
  const int64_t streamed =
      block_tiles(conv, winograd.tiling, share_of_l2(machine, kStreamedFloats));
  winograd.resident = floats <= share_of_l2(machine, kResidentFloats) &&
                      winograd_tiles(conv, winograd.tiling) > streamed;
  return winograd;
}

Cut cut_tiles(const Conv& conv, TileShape tile, const WinogradPlan& winograd,
              const Machine& machine, int64_t threads) {
  const int64_t tiles = winograd_tiles(conv, winograd.tiling);
  const int64_t fitting = block_tiles(conv, winograd.tiling, block_share(winograd, machine));
  const int64_t least = std::max<int64_t>(1, tile.mr / winograd.tiling.d.size);
  int64_t blocks = ceil_div(tiles, std::max(fitting, least));
  // Where weights are transformed for each block, more blocks would cost more than they balance,
  // but for a single one of many tiles.
  if (winograd.resident || (blocks == 1 && sharing_tiles_pays(conv, tiles, least * threads)))
    blocks = balanced(blocks, threads);
  const int64_t size = ceil_div(tiles, blocks);
  return {size, ceil_div(tiles, size)};
}

int64_t winograd_work_floats(const Conv& conv, const Plan& plan) {
  const Tiling& tiling = plan.winograd.tiling;
  const int64_t channels = plan.winograd.pass_channels;
  const int64_t points = input_points(conv, tiling), size = plan.blocks.size;
  const int64_t passes = ceil_div(conv.in_c, channels), nr = plan.layout.nr;
  const int64_t kept = plan.winograd.resident ? plan.unit_panels.size * passes : 1;
  return size * kPositionFloats +
         passes * points_floats(points, slices_of(conv, tiling) * size, channels) +
         points_floats(points, tiling.d.size * size, nr) +
         kept * points_floats(kernel_points(conv, tiling), conv.d.kernel * channels, nr);
}

}  // namespace resfuse
