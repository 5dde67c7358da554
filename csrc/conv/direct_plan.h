// How direct convolution is cut into work: the passes of a window, and where a register tile finds
// its inputs.

#pragma once

#include <cstdint>

#include "conv/plan.h"

namespace resfuse {

// The taps lie side by side among the packed weights if `in_one`.
DirectPlan plan_direct(const Conv& conv, const Layout& layout, TileShape tile,
                       const Machine& machine, bool in_one, bool prologue);

// What a block holds in the cache for each of its pixels: as many pixels of the image as the stride
// brings in, of which those between the windows are not read. Strided tiles have few inputs beside
// their outputs, whose lines a panel writes a part of: a stem of 64 channels took 5 percent longer
// where those of a block did not stay. In doubles, for a stride may be far larger than its image.
int64_t cached_floats(const Conv& conv, const DirectPlan& direct);

}  // namespace resfuse
