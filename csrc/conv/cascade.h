// A cascade: convolutions of which each reads what the one before wrote, a few rows at a time, so
// that what lies between them never leaves a thread's L2.
//
//   for each unit: some rows of the last output of an image         (or a few whole images)
//     for each band of them                                         as many as L2 has room for
//       for each part: a convolution of the cascade                 (a step)
//         keep those rows of its output that the next part needs again
//         compute those that it needs and that are not there yet
//
// Expansion and depthwise convolution of a few channels in turn, whose rows would stay in L1, took
// 1.02 of MobileNets' time with these bands, and 1.2 with lower ones. Gaps that put pixels an odd
// number of cache lines apart took 0.99 to 1.01.
//
// What a step computes is a convolution of its own: of rows of the image that its outputs meet,
// padded above and below only where those lie at the image's edge. It runs by the part's own
// algorithm, which is direct: so an output is the same sum in the same order wherever bands and
// units begin, and the one that the part alone would compute.

#pragma once

#include <vector>

#include "conv/plan.h"

namespace resfuse {

// Rows [first, last) of an image.
struct Rows {
  int64_t first, last;

  int64_t count() const { return last - first; }
};

// A convolution that one or more steps are.
struct Band {
  size_t part;
  PlannedPhase phase;
};

// All rows are those of whole images.
struct Step {
  size_t part, band;
  Rows read;  // of the part's input
  Rows made;  // of its output
  Rows held;  // what the buffer for its output then holds; without one, all rows
};

struct CascadePlan {
  bool pays;       // fewer bytes move than if each part were a call of its own
  int64_t images;  // of a unit
  int64_t groups;  // of so many images, in the batch
  std::vector<std::vector<Step>> units;  // of one group
  std::vector<Band> bands;
  std::vector<int64_t> buffer_floats;  // of each part but the last
  int64_t threads;

  int64_t all_units() const { return groups * static_cast<int64_t>(units.size()); }
};

// Whether these make a cascade: two-dimensional convolutions, each of which reads the output of the
// one before, without dilation and rows of outputs that meet padding alone.
bool is_cascade(const std::vector<Conv>& parts);

CascadePlan plan_cascade(const std::vector<Conv>& parts, TileShape tile, const Machine& machine,
                         int64_t max_threads);

}  // namespace resfuse
