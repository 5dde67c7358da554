#include "conv/winograd_choice.h"

#include <algorithm>

#include "conv/winograd_plan.h"

namespace resfuse {
namespace {

// To transform a weight to a point takes as long as so many products. Measured from 3x3 to 32x32
// pixels, one to eight images, AVX-512 and AVX2 of a Sapphire Rapids: of direct convolution and all
// sizes of tiles this chooses the fastest, or one within 5 percent (a single 4x4: 8). One image of
// 7x7x512 takes 0.86 of the time of 4x4 tiles in 2x2, one of 14x14x256 0.93 in 3x3. A Zen 4, where
// a multiply-add of AVX-512 takes two cycles, had 5/2.
constexpr int64_t kProductsPerWeight = 8;
// With stride 2, 4x4 outputs take 81 points, for which the tiles of a single block find no room in
// L2: 56x56x128, 49 tiles and 2 MiB of transformed inputs, took 1.45 times as long in a network as
// in tiles of 2x2, on two threads 1.65. Eight such images are as fast either way.
constexpr int64_t kFewestStrided = 64;

// Input slices of a tile. Where strides or dilation put more between its outputs, most are met by
// few of them.
constexpr int64_t kMaxSlices = 256;

// Of the sides that are transformed.
int64_t stride_of(const Conv& conv) {
  return is_transformed(conv.h) ? conv.h.stride : conv.w.stride;
}

// Whether the window has two taps where it is transformed.
bool is_pair(const Conv& conv) { return std::max(conv.h.kernel, conv.w.kernel) == 2; }

bool side_applies(const Side& side) {
  const bool strided = side.stride == 2 && side.window_dilation == 1;
  const bool window = side.kernel == 3 ? side.stride == 1 || strided : side.stride == 1;
  return side.image_dilation == 1 &&
         (side.kernel == 1 || ((side.kernel == 2 || side.kernel == 3) && window));
}

// Each slice of each tile is one, as with a depth of 1.
int64_t output_slices(const Conv& conv, const Tiling& tiling) {
  return conv.batch * conv.d.out * tiling.h.tiles * tiling.w.tiles;
}

// For each slice of the window.
int64_t work_of_slice(const Conv& conv, int64_t output) {
  const Tiling tiling = tile_images(conv, output);
  return input_points(conv, tiling) * output_slices(conv, tiling) +
         kernel_points(conv, tiling) * kProductsPerWeight;
}

// Of direct convolution's work a tenth must remain for the transforms of inputs and outputs. Lines
// have more of these for each product, and with stride 2 a tile has most points.
int64_t most_work(const Conv& conv) {
  const int64_t direct = conv.pixels() * conv.h.kernel * conv.w.kernel;
  if (stride_of(conv) == 2) return direct * 5 / 6;
  return direct * (is_line(conv) ? 7 : 9) / 10;
}

// Transforms must be few beside the products, so there must be some channels. Errors grow with
// them: beyond 1024, or in tiles of 5x5 beyond 512, they would pass 2e-5 of the largest output.
// With stride 2, products save least and a tile has most points: 3x3x3 at 8x56x56x64 took as long
// as directly, and lines need many channels: 3000x384 takes 0.94.
int64_t paying_output(const Conv& conv) {
  if (conv.d.kernel > 1 && std::max(conv.h.stride, conv.w.stride) > 1) return 0;
  const int64_t fewest = is_line(conv) && stride_of(conv) > 1 ? 256 : 32;
  const bool channels_pay = conv.in_c >= fewest && conv.in_c <= 1024 && conv.out_c >= 32;
  const int64_t largest = !is_pair(conv) && conv.in_c <= 512 ? 5 : 4;
  return channels_pay ? output_of_least_work(conv, largest, 1) : 0;
}

}  // namespace

bool winograd_applies(const Conv& conv, TileShape tile) {
  const bool window = is_transformed(conv.h) || is_transformed(conv.w);
  const bool same =
      is_line(conv) || (conv.h.stride == conv.w.stride && conv.h.kernel == conv.w.kernel);
  // A phase may have no taps, and each is a run of the register tile.
  const bool depth =
      conv.d.image_dilation == 1 && conv.d.kernel >= 1 && conv.d.kernel <= kMaxPassRuns;
  // Transforms work on whole vectors of input channels.
  const bool channels = conv.in_c % (tile.nr / 2) == 0 && conv.in_c <= kWinogradMaxChannels;
  return window && same && depth && channels && conv.groups == 1 && conv.pixels() > 0 &&
         side_applies(conv.h) && side_applies(conv.w) &&
         slices_of(conv, tile_images(conv, 4)) <= kMaxSlices;
}

int64_t winograd_output(const Conv& conv, TileShape tile, Choice choice) {
  if (choice == Choice::kDirect || !winograd_applies(conv, tile)) return 0;
  const int64_t output = paying_output(conv);
  return output == 0 && choice == Choice::kWinograd ? 4 : output;
}

int64_t output_of_least_work(const Conv& conv, int64_t largest, int64_t fewest_tiles) {
  const bool strided = stride_of(conv) == 2;
  int64_t best = 0, least = most_work(conv);
  for (int64_t output = largest; output > 1; --output) {
    if ((strided || is_pair(conv)) && output != 4 && output != 2) continue;
    const int64_t work = work_of_slice(conv, output);
    const int64_t fewest = strided && !is_line(conv) && output == 4 ? kFewestStrided : fewest_tiles;
    if (output_slices(conv, tile_images(conv, output)) < fewest || work >= least) continue;
    best = output;
    least = work;
  }
  return best;
}

int64_t products(const Conv& conv, int64_t output) {
  return output > 0 ? conv.d.kernel * work_of_slice(conv, output) : conv.pixels() * conv.taps();
}

}  // namespace resfuse
