// The tiles that Winograd's transforms are applied to: where they lie, and what they read.

#pragma once

#include "conv/window.h"
#include "conv/winograd_functions.h"
#include "conv/winograd_plan.h"

namespace resfuse {
namespace {

// The first output pixel of a tile.
struct TilePosition {
  int64_t image, z, y, x;
};

// The first output of a tile along a side.
inline int64_t first_output(const TilingSide& side, int64_t tile) {
  return tile * side.outputs - tile % side.dilation * (side.outputs - 1);
}

inline TilePosition locate_tile(int64_t tile, const Tiling& tiling) {
  const int64_t row = tile / tiling.w.tiles, slices = row / tiling.h.tiles;
  return {slices / tiling.d.count, slices % tiling.d.count * tiling.d.size,
          first_output(tiling.h, row % tiling.h.tiles),
          first_output(tiling.w, tile % tiling.w.tiles)};
}

// Pixels of one slice: the first, and how far apart they are.
struct Grid {
  int64_t image, z, y, x;
  int64_t step_y, step_x;
};

// Of the outputs of a tile's slice `z`.
inline Grid output_grid(const TilePosition& at, const Tiling& tiling, int64_t z) {
  return {at.image, at.z + z, at.y, at.x, tiling.h.dilation, tiling.w.dilation};
}

// Of the inputs of a tile's slice `z`, of those that it has (slices_of).
inline Grid input_grid(const Conv& conv, const TilePosition& at, const Tiling& tiling, int64_t z) {
  return {at.image,
          at.z * conv.d.stride - conv.d.pad + z,
          at.y * conv.h.stride - conv.h.pad,
          at.x * conv.w.stride - conv.w.pad,
          tiling.h.dilation,
          tiling.w.dilation};
}

inline bool is_inside(int64_t z, int64_t depth) { return z >= 0 && z < depth; }

// Points at the first channel of each pixel of a grid, or at zeros where it lies outside the image,
// whose slices are `shape`, `depth` of them.
inline void point_at_pixels(const float* images, const Images& shape, int64_t depth,
                            const Grid& grid, const Area& area, const float** to) {
  const bool inside = is_inside(grid.z, depth);
  for (int64_t i = 0; i < area.h; ++i)
    for (int64_t j = 0; j < area.w; ++j)
      *to++ = inside ? point_at_pixel(images, shape, grid.image * depth + grid.z,
                                      grid.y + i * grid.step_y, grid.x + j * grid.step_x)
                     : kZeros;
}

}  // namespace
}  // namespace resfuse
