// The input gradient, as convolutions with stride 1 of the output's gradient:
//
//   d_in[y] = sum over i with (y + pad - i) a multiple of the stride s
//             of  d_out[(y + pad - i) / s] * kernel[i]                    (likewise along x)
//
// All rows y with the same remainder r = (y + pad) mod s meet the same taps i = r, r + s, r + 2s,
// ...: a *phase*. With y = first + s u and q = (first + pad - r) / s,
//
//   d_in[first + s u] = sum over t of  d_out[q + u - t] * kernel[r + s t],
//
// a convolution whose kernel is flipped, t to T - 1 - t, and whose channels change places. Stride 1
// has a single phase: the whole kernel. No zeros are put between the pixels, and nothing
// is multiplied by them.

#pragma once

#include <vector>

#include "conv/conv.h"
#include "conv/pack.h"

namespace resfuse {

struct Phase {
  Conv conv;        // of d_out
  Taps taps;        // of the kernel, for pack_panel_transposed
  Scatter scatter;  // where its outputs lie in d_in
};

// The phases that meet taps and pixels. Where the stride is larger than the window, pixels remain
// that belong to none; their gradient is zero.
std::vector<Phase> input_gradient_phases(const Conv& conv);
bool phases_cover_input(const Conv& conv);

}  // namespace resfuse
