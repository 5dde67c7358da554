// How the weight gradient is cut into work: plain data. The result is a matrix of (tap,
// input channel) by output channel, each of whose numbers is a sum over the pixels.
//
//   block   pixels whose windows and outputs fit the cache, or Winograd's tiles: added up in
//           registers, and then to the result
//   chunk   some blocks in turn. Each has a result of its own; they are added in their order.
//   unit    some input channels with all taps of the window, some output channels, and a chunk:
//           what a thread takes at a time
//
// Blocks and chunks decide the order of the sums. So the plan follows from the sizes and the
// instruction set alone, and no Machine is asked: it is cut for the caches of kReferenceMachine.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/arithmetic.h"
#include "conv/conv.h"
#include "conv/phases.h"
#include "conv/plan.h"

namespace resfuse {

struct WeightPlan {
  Algorithm algorithm;  // grouped: a unit's input channels are its output channels
  int64_t groups;       // those that a unit cannot cross
  Cut inputs, outputs;  // the channels of a group
  int64_t block_size;   // in pixels, or in Winograd's tiles
  Cut chunks;           // of the same
  int64_t row_floats;   // direct and grouped: from the copy of one window to the next
  Tiling tiling;        // of Winograd
  size_t work_floats;   // scratch of one thread

  int64_t units() const { return groups * inputs.count * outputs.count * chunks.count; }
};

struct WeightJob {
  const Conv& conv;  // without image dilation
  Scatter scatter;   // where its outputs lie in d_out
  WeightPlan plan;
  const float *in, *d_out;
  float* d_kernel;  // (chunks, kernel's shape)
};

struct WeightUnit {
  int64_t group, first_channel, channels;  // inputs, within the group
  int64_t first_column, columns;           // outputs, among all
  int64_t first, last, chunk;              // pixels or tiles
};

// The convolution's parts, each with a gradient of its own.
std::vector<Phase> weight_phases(const Conv& conv, TileShape tile, Choice choice);
WeightPlan make_weight_plan(const Conv& conv, TileShape tile, Choice choice);
// As many threads as are worth waking.
int64_t weight_threads(const Conv& conv, const WeightPlan& plan, int64_t max_threads);
WeightUnit weight_unit_at(const Conv& conv, const WeightPlan& plan, int64_t index);

}  // namespace resfuse
