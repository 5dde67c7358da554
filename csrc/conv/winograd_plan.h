// How Winograd's algorithm is cut into work: where it pays, in which tiles, and what they take. The
// weight gradient (grad/weight_plan.h) asks the same of its own.
//
// Windows of 3 or 2 along the height, along the width or both are transformed, on sides where the
// window is a single tap there is one point for one output. The depth is not: the products of an
// output slice run over the input slices that its window meets, as they do over the channels. So
// each input slice of a tile is transformed once for all the output slices that it reaches.

#pragma once

#include <cstdint>

#include "conv/plan.h"

namespace resfuse {

// Whether the algorithm computes this at all.
bool winograd_applies(const Conv& conv, TileShape tile);
// Whether a single side of the window is transformed.
bool is_line(const Conv& conv);
// The outputs of a tile's side, or 0 for direct convolution. It follows from the sizes alone, for
// it decides the order of sums.
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

// In tiles of `output` pixels along the sides whose windows are transformed.
Tiling tile_images(const Conv& conv, int64_t output);
// The tiles of all images.
int64_t winograd_tiles(const Conv& conv, const Tiling& tiling);
// The input slices of a tile, from the first that its first output meets to the last of its last.
int64_t slices_of(const Conv& conv, const Tiling& tiling);
// The points of a tile's slice: as many as inputs.
int64_t input_points(const Conv& conv, const Tiling& tiling);
// Floats of so many points, each a matrix of `rows` by `columns`.
int64_t points_floats(int64_t points, int64_t rows, int64_t columns);

WinogradPlan plan_winograd(const Conv& conv, const Layout& layout, const Machine& machine,
                           int64_t output);
// Blocks of tiles.
Cut cut_tiles(const Conv& conv, TileShape tile, const WinogradPlan& winograd,
              const Machine& machine, int64_t threads);
int64_t winograd_work_floats(const Conv& conv, const Plan& plan);

// Between the matrices of the points lies one cache line, or all would fall into the same set.
constexpr int64_t kWinogradPad = 16;
// No more input channels than this, or a pixel's worth of zeros would outgrow kZeros.
constexpr int64_t kWinogradMaxChannels = kMaxPassFloats;
// What is noted of each tile of a block, TilePosition (winograd_tile.h), takes less than a cache
// line.
constexpr int64_t kPositionFloats = 16;

}  // namespace resfuse
