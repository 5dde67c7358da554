// The runs of windows that are neighbours in a row of outputs: each window's lie a stride from
// those of the window before, so that one pointer for each run reaches those of a whole tile, and
// of the tiles that follow.

#pragma once

#include "conv/window.h"

namespace resfuse {
namespace {

class StridedRuns {
 public:
  // `pointers` has room for one for each run, `copies` for as many spans of a tile.
  StridedRuns(const Conv& conv, const float* in, const float** pointers, float* copies)
      : conv_(conv),
        in_(in),
        pointers_(pointers),
        copies_(copies),
        row_runs_(conv.row_runs()),
        length_(conv.w.kernel / row_runs_ * conv.in_c),
        step_(conv.w.window_dilation * conv.in_c),
        stride_(conv.w.stride * conv.in_c) {}

  // Floats from a window to the next.
  int64_t stride() const { return stride_; }

  // Moves to a row of outputs: finds the rows of the image that its windows meet.
  void move_to(int64_t row) {
    const Corner corner = corner_of_row(conv_, row);
    Row* to = rows_;
    for (int64_t k = 0; k < conv_.d.kernel; ++k)
      for (int64_t i = 0; i < conv_.h.kernel; ++i) *to++ = row_of_window(conv_, corner, k, i);
    all_inside_ = corner.inside;
  }

  // Points at the runs of m windows from column x on: into the image, at zeros, or at padded
  // copies. Returns how often m windows, up to `most` times, may follow each other from there: just
  // once unless all of them are inside the image.
  int64_t point(int64_t x, int64_t m, int64_t most) const {
    const int64_t begin = x * stride_ - conv_.w.pad * conv_.in_c;
    const int64_t span = (m - 1) * stride_ + length_;
    const float** to = pointers_;
    float* copy = copies_;
    for (int64_t row = 0; row < conv_.d.kernel * conv_.h.kernel; ++row)
      for (int64_t j = 0; j < row_runs_; ++j, copy += span)
        *to++ = point_at_run(conv_, in_, rows_[row], {begin + j * step_, span, span}, copy);
    const int64_t end = begin + (row_runs_ - 1) * step_ + span;
    const int64_t row_floats = conv_.w.in * conv_.in_c;
    const bool inside = all_inside_ && begin >= 0 && end <= row_floats;
    return inside ? smaller(most, (row_floats - end) / (m * stride_) + 1) : 1;
  }

 private:
  const Conv& conv_;
  const float* const in_;
  const float** const pointers_;
  float* const copies_;
  const int64_t row_runs_, length_, step_, stride_;
  Row rows_[kMaxPassRuns];
  bool all_inside_ = false;
};

}  // namespace
}  // namespace resfuse
