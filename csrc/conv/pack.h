// Packed weights: (panels, taps, depth, NR), in the order in which a register tile reads them.
//
//   panel   NR output channels of one group, or, where groups are narrower than a vector (Layout::
//           grouped), NR output channels whatever their groups; zeros where there are no more
//   tap     a pixel of the window, kernel_h * kernel_w of them
//   depth   the input channels of a group

#pragma once

#include <cstddef>
#include <cstdint>

#include "conv/conv.h"

namespace resfuse {

struct Layout {
  bool grouped;  // an output channel's lane holds the inputs of its own group, see grouped.h
  bool rotated;  // groups narrower than a vector: depth r has the weights from each lane's input to
                 // the output r lanes further in its group
  int64_t panels_per_group, panels;
  int64_t taps, depth, nr;

  int64_t panel_floats() const;
  size_t bytes() const;  // of all panels
};

// The output channels of a panel, and the group of the first.
struct Panel {
  int64_t group, channel, columns;
};

Layout make_layout(const Conv& conv, int64_t nr);
Panel panel_at(const Conv& conv, const Layout& layout, int64_t index);
void pack_panel(const Conv& conv, const Layout& layout, const float* kernel, int64_t index,
                float* to);

// Which taps of a larger kernel, `kernel_w` wide, are a convolution's, flipped: its tap (i, j) is
// the kernel's (last_h - step_h * i, last_w - step_w * j).
struct Taps {
  int64_t last_h, step_h, last_w, step_w, kernel_w;
};

// Packs like pack_panel, but from a kernel whose input channels are this convolution's outputs, and
// the other way round: what the input gradient needs (grad/input_gradient.h).
void pack_panel_transposed(const Conv& conv, const Layout& layout, const Taps& taps,
                           const float* kernel, int64_t index, float* to);

}  // namespace resfuse
