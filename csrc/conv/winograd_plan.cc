#include "conv/winograd_plan.h"

#include <algorithm>

namespace resfuse {
namespace {

// The weights of a kernel's side are transformed to so many points, with stride 1 and 2.
int64_t kernel_points(int64_t output) { return output + 2; }

// Transformed weights stay from block to block up to 2.4 MiB for an L2 of 1 MiB: they are read from
// L3 once a block, and what a block has to do for it grows with L2. Beyond, they are transformed
// again for each block, of up to 64 tiles then, as many as have 6.6 MiB of transformed inputs: 90
// cycles for each 16 weights against 36 a tile for their products. Measured on 14x14x256: blocks of
// 64 tiles are 10 % faster than of 32.
constexpr int64_t kResidentFloats = 600 << 10;
constexpr int64_t kStreamedFloats = 1700 << 10;
constexpr int64_t kMaxBlockTiles = 64;

// Products of all input channels are added up in one pass where the transformed weights are no more
// than this, else those of 128 channels: of one panel, they then stay in L2. Measured on 14x14x256:
// 128 channels are 10 % faster than 64. This decides the order of sums, so it is the same on every
// machine.
constexpr int64_t kOnePassFloats = 600 << 10;
constexpr int64_t kPassChannels = 128;

// Of all panels.
int64_t weights_floats(const Conv& conv, const Layout& layout, int64_t output) {
  return layout.panels * points_floats(kernel_points(output), conv.in_c, layout.nr);
}

// Transforms must be few beside the products, so there must be some channels. Errors grow with
// them: beyond 1024, or in tiles of 5x5 beyond 512, they would pass 2e-5 of the largest output. And
// 5x5 have a third more transformed weights, which few tiles do not repay: one image of 14x14x256
// in a network at batch 1 took 1.07 times as long, eight 0.87.
int64_t paying_output(const Conv& conv) {
  const bool channels_pay = conv.in_c >= 32 && conv.in_c <= 1024 && conv.out_c >= 32;
  const bool fives_pay = conv.in_c <= 512 && winograd_tiles(conv, tile_images(conv, 5)) >= 24;
  return channels_pay ? output_of_least_work(conv, fives_pay ? 5 : 4, 1) : 0;
}

}  // namespace

bool winograd_applies(const Conv& conv, TileShape tile) {
  // Transforms work on whole vectors of input channels.
  const bool flat = conv.d.is_identity() && conv.d.in == 1;
  const bool dense = conv.h.window_dilation == 1 && conv.w.window_dilation == 1;
  return flat && dense && conv.h.kernel == 3 && conv.w.kernel == 3 && conv.h.stride <= 2 &&
         conv.w.stride == conv.h.stride && conv.groups == 1 && conv.in_c % (tile.nr / 2) == 0 &&
         conv.in_c <= kWinogradMaxChannels && conv.pixels() > 0;
}

int64_t winograd_output(const Conv& conv, TileShape tile, Choice choice) {
  if (choice == Choice::kDirect || !winograd_applies(conv, tile)) return 0;
  const int64_t output = paying_output(conv);
  return output == 0 && choice == Choice::kWinograd ? 4 : output;
}

int64_t output_of_least_work(const Conv& conv, int64_t largest, int64_t fewest_tiles) {
  // A fifth of direct convolution's work must remain for the transforms of inputs and outputs.
  int64_t best = 0, least = conv.pixels() * 9 * 4 / 5;
  for (int64_t output = largest; output > 1; --output) {
    if (conv.h.stride == 2 && output != 4 && output != 2) continue;
    const int64_t points = winograd_points(conv, output), of_kernel = kernel_points(output);
    const int64_t tiles = winograd_tiles(conv, tile_images(conv, output));
    const int64_t work = points * points * tiles + of_kernel * of_kernel * 5 / 2;
    if (tiles < fewest_tiles || work >= least) continue;
    best = output;
    least = work;
  }
  return best;
}

Tiling tile_images(const Conv& conv, int64_t output) {
  return {output, ceil_div(conv.h.out, output), ceil_div(conv.w.out, output)};
}

int64_t winograd_tiles(const Conv& conv, const Tiling& tiling) {
  return conv.batch * tiling.h * tiling.w;
}

int64_t winograd_points(const Conv& conv, int64_t output) {
  return (output - 1) * conv.h.stride + 3;
}

int64_t points_floats(int64_t points, int64_t rows, int64_t columns) {
  return points * points * (rows * columns + kWinogradPad);
}

WinogradPlan plan_winograd(const Conv& conv, const Layout& layout, const Machine& machine,
                           int64_t output) {
  const int64_t floats = weights_floats(conv, layout, output);
  const bool one_pass = floats <= kOnePassFloats;
  return {tile_images(conv, output), one_pass ? conv.in_c : std::min(conv.in_c, kPassChannels),
          floats <= share_of_l2(machine, kResidentFloats)};
}

Cut cut_tiles(const Conv& conv, TileShape tile, const WinogradPlan& winograd,
              const Machine& machine, int64_t threads) {
  const int64_t points = winograd_points(conv, winograd.tiling.output);
  const int64_t floats =
      winograd.resident ? block_floats(machine) : share_of_l2(machine, kStreamedFloats);
  const int64_t fitting = floats / points_floats(points, 1, conv.in_c) / tile.mr * tile.mr;
  const int64_t tiles = winograd_tiles(conv, winograd.tiling);
  int64_t blocks = ceil_div(tiles, std::clamp<int64_t>(fitting, tile.mr, kMaxBlockTiles));
  // Where weights are transformed for each block, more blocks would cost more than they balance.
  if (winograd.resident) blocks = balanced(blocks, threads);
  const int64_t size = ceil_div(tiles, blocks);
  return {size, ceil_div(tiles, size)};
}

int64_t winograd_work_floats(const Conv& conv, const Plan& plan) {
  const WinogradPlan& winograd = plan.winograd;
  const int64_t output = winograd.tiling.output, channels = winograd.pass_channels;
  const int64_t points = winograd_points(conv, output), size = plan.blocks.size;
  const int64_t passes = ceil_div(conv.in_c, channels), nr = plan.layout.nr;
  const int64_t kept = winograd.resident ? plan.unit_panels.size * passes : 1;
  return passes * points_floats(points, size, channels) + points_floats(points, size, nr) +
         kept * points_floats(kernel_points(output), channels, nr);
}

}  // namespace resfuse
