// How the gradient by the weights is cut into work: plain data, from the sizes and the ISA alone,
// so that neither the sums nor their order depend on the threads.
//
//   part    some input channels of a group, with all taps of the window: rows of the result
//   slab    some output channels of a group: columns of the result
//   block   pixels whose windows, `row_floats` for each, and outputs fit the cache; or Winograd's
//           tiles
//   chunk   some blocks in turn. Each has a result of its own; they are added at the end.
//   unit    a part, a slab and a chunk: what a thread takes at a time

#pragma once

#include <cstddef>
#include <cstdint>

#include "conv/conv.h"
#include "conv/plan.h"

namespace resfuse {

struct WeightPlan {
  bool lanes;  // narrow groups share vectors, see pack.h; a part is then a slab as well
  int64_t nr;
  int64_t part_channels, parts, slab_channels, slabs, groups;
  int64_t block_size, chunk_size, chunks;  // in pixels, or in Winograd's tiles
  int64_t row_floats;
  int64_t tile_output, tiles_h, tiles_w;  // Winograd's, see plan.h; tile_output 0: direct
  int64_t units;
  size_t work_floats;  // scratch of one thread
};

struct WeightJob {
  const Conv& conv;
  WeightPlan plan;
  const float *in, *d_out;
  float* d_kernel;  // (chunks, kernel's shape)
};

struct WeightUnit {
  int64_t group, first_channel, channels;  // inputs, within the group
  int64_t first_column, columns;           // outputs, among all
  int64_t first, last, chunk;              // pixels or tiles
};

WeightPlan make_weight_plan(const Conv& conv, TileShape tile, Choice choice);
// As many threads as are worth waking.
int64_t weight_threads(const Conv& conv, const WeightPlan& plan, int64_t max_threads);
WeightUnit weight_unit_at(const Conv& conv, const WeightPlan& plan, int64_t index);

}  // namespace resfuse
