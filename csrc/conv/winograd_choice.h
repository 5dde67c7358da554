// Where Winograd's algorithm pays, and in tiles of how many outputs. All of it follows from the
// sizes alone, for it decides the order of sums.

#pragma once

#include <cstdint>

#include "conv/plan.h"

namespace resfuse {

// Whether the algorithm computes this at all.
bool winograd_applies(const Conv& conv, TileShape tile);
// The outputs of a tile's side, or 0 for direct convolution.
int64_t winograd_output(const Conv& conv, TileShape tile, Choice choice);
// The outputs of a tile's side that need the least work, counted in products for each pair of an
// input and an output channel and each slice of the window: one for each point of each tile, also
// where the image ends within it, and several for each point of the transformed weights. From 2 to
// `largest`, with stride 2 and windows of two only 2 or 4; or 0, if direct convolution, a product
// for each tap and output, is not clearly more, or there are fewer tiles.
int64_t output_of_least_work(const Conv& conv, int64_t largest, int64_t fewest_tiles);

// The products of an input and an output channel that the convolution takes: Winograd's, or if
// `output` is 0 the direct ones.
int64_t products(const Conv& conv, int64_t output);

}  // namespace resfuse
