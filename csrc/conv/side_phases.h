// One side of a convolution, as parts: its phases, or these cut further (phases.h has the
// arithmetic).

#pragma once

#include <vector>

#include "base/side.h"
#include "conv/pack.h"

namespace resfuse {

// Phases as they are; cut into regions, or by taps, where the window is dilated.
enum class Parts { kPhases, kRegions, kTaps };

// A convolution's side without image dilation.
struct SidePhase {
  Side side;
  SideTaps taps;
  int64_t first, step;  // outputs
};

std::vector<SidePhase> parts_of(const Side& side, Parts parts);
// The number of outputs between those of a phase.
int64_t output_step(const Side& side);
// Of a dilated window the pairs of an output and a tap that meet inside the image; of others all.
int64_t meetings(const Side& side);

std::vector<SideTaps> classes_of(const Side& side);
// The class that some taps are of, all of it.
SideTaps whole_class(const Side& side, const SideTaps& taps);
// How many taps the classes before this one have.
int64_t taps_before(const SideTaps& taps);

}  // namespace resfuse
