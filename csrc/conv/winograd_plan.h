// How Winograd's algorithm is cut into work: its tiles, and what they take. The weight gradient
// (grad/weight_plan.h) has the same tiles.
//
// Windows of 3 or 2 along the height, along the width or both are transformed, on sides where the
// window is a single tap there is one point for one output. The depth is not: the products of an
// output slice run over the input slices that its window meets, as they do over the channels. So
// each input slice of a tile is transformed once for all the output slices that it reaches.

#pragma once

#include <cstdint>

#include "conv/plan.h"

namespace resfuse {

// Whether a side of the window is transformed, and whether that is the only one.
bool is_transformed(const Side& side);
bool is_line(const Conv& conv);
// In tiles of `output` pixels along the sides whose windows are transformed.
Tiling tile_images(const Conv& conv, int64_t output);
// The tiles of all images.
int64_t winograd_tiles(const Conv& conv, const Tiling& tiling);
// The input slices of a tile, from the first that its first output meets to the last of its last.
int64_t slices_of(const Conv& conv, const Tiling& tiling);
// The points of a tile's slice: as many as inputs.
int64_t input_points(const Conv& conv, const Tiling& tiling);
// The points of a slice of the kernel: with stride 2 fewer.
int64_t kernel_points(const Conv& conv, const Tiling& tiling);
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
