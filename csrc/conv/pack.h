// Packed weights: (panels, taps, depth, NR), in the order in which a register tile reads them.
//
//   panel   NR output channels of one group, or, where groups are narrower than a vector (Layout::
//           grouped), NR output channels whatever their groups; zeros where there are no more
//   tap     a pixel of the window; where the image is dilated, taps of a class side by side
//   (phases.h) depth   the input channels of a group

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
  // From panel to panel, and from one plane or row of the window to the next: of all packed taps
  // some may be those of other phases (phases.h).
  int64_t all_taps, plane_taps, row_taps;

  int64_t tap_floats() const;
  int64_t panel_floats() const;
  int64_t panel_stride() const;
  size_t bytes() const;  // of all panels
};

// The output channels of a panel, and the group of the first.
struct Panel {
  int64_t group, channel, columns;
};

// Which taps of a side are a convolution's: first, first + step, ..., `count` of the `whole`.
struct SideTaps {
  int64_t first, step, count, whole;
};

// Which taps of a kernel are a convolution's, how many are packed before them, and how many from
// one plane or row of them to the next. An input gradient's kernel is *mirrored*: flipped, and its
// input channels are the convolution's outputs.
struct Taps {
  SideTaps d, h, w;
  int64_t before, plane, row;
  bool mirrored;

  int64_t count() const { return d.count * h.count * w.count; }
  int64_t whole() const { return d.whole * h.whole * w.whole; }
  bool are_all() const { return count() == whole(); }
  // Whether none of another phase lie between them.
  bool side_by_side() const {
    return (w.count == row || d.count * h.count == 1) && (h.count * row == plane || d.count == 1);
  }
  // The kernel's tap that is tap (k, i, j) of the convolution.
  int64_t at(int64_t k, int64_t i, int64_t j) const;
};

// Calls `function(index, tap)` with each tap's index among the convolution's and the kernel's.
template <typename Function>
void for_each_tap(const Taps& taps, const Function& function) {
  int64_t index = 0;
  for (int64_t k = 0; k < taps.d.count; ++k)
    for (int64_t i = 0; i < taps.h.count; ++i)
      for (int64_t j = 0; j < taps.w.count; ++j) function(index++, taps.at(k, i, j));
}

Layout make_layout(const Conv& conv, int64_t nr);
Panel panel_at(const Conv& conv, const Layout& layout, int64_t index);
// Packs a panel of these taps.
void pack_panel(const Conv& conv, const Layout& layout, const Taps& taps, const float* kernel,
                int64_t index, float* to);

}  // namespace resfuse
