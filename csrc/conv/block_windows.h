// The windows of a block's pixels, as all panels share them: copied side by side (kGathered), where
// a prologue has its place, or as pointers to their pixels (kShared). Both lie at the start of the
// work space. Or they are only brought nearer.

#pragma once

#include "conv/run_prologue.h"
#include "conv/tile.h"
#include "conv/window.h"

namespace resfuse {
namespace {

class BlockWindows {
 public:
  BlockWindows(const Job& job, float* work)
      : conv_(job.conv),
        plan_(job.plan),
        in_(job.operands.in),
        prologue_(job.operands.prologue),
        work_(work) {}

  // Copies the windows of pixels [begin, end), points at them, or brings them into L2.
  void prepare(int64_t begin, int64_t end) {
    if (plan_.direct.brings_block) bring(begin, end);
    if (plan_.direct.inputs == Inputs::kGathered) gather(begin, end);
    if (plan_.direct.inputs == Inputs::kShared) point(begin, end);
  }

  // The copies of the block's windows, DirectPlan::pixel_floats apart.
  const float* gathered() const { return work_; }
  // The pointers of the tile that starts at the block's `pixel`: (runs, pixels), each at the first
  // channel.
  const float* const* rows(int64_t pixel) const {
    return reinterpret_cast<const float**>(work_) + pixel * plan_.direct.passes.runs;
  }
  // The work space that is left behind them.
  float* rest() const { return work_ + plan_.blocks.size * plan_.direct.pixel_floats; }

 private:
  // Loads a float of each line of the rows that the windows meet, in the order of memory, as
  // processors expect it: a panel reads pieces of 128 bytes. They make less of prefetches.
  void bring(int64_t begin, int64_t end) const {
    constexpr int64_t kLine = 64 / sizeof(float);
    const Corner first = corner_of_row(conv_, begin / conv_.w.out);
    const Corner last = corner_of_row(conv_, (end - 1) / conv_.w.out);
    const Row lowest = row_of_window(conv_, last, 0, conv_.h.kernel - 1);
    const int64_t stop = smaller(lowest.at + conv_.w.in * conv_.in_c, conv_.in_floats());
    const int64_t highest = row_of_window(conv_, first, 0, 0).at;
    for (int64_t at = highest < 0 ? 0 : highest; at < stop; at += kLine)
      static_cast<void>(*static_cast<const volatile float*>(in_ + at));
  }

  void gather(int64_t begin, int64_t end) {
    const WindowCopy window(conv_, in_);
    float* to = work_;
    for (int64_t pixel = begin; pixel < end; pixel += kMR) {
      Corner corners[kMR];
      const int64_t m = smaller(kMR, end - pixel);
      locate(conv_, pixel, m, corners);
      if (prologue_) run_prologue(*prologue_, conv_, corners, m, plan_.direct.pixel_floats, to);
      for (int64_t p = 0; p < m; ++p, to += plan_.direct.pixel_floats)
        if (!prologue_) window.copy_to(to, corners[p]);
    }
  }

  void point(int64_t begin, int64_t end) {
    auto** to = reinterpret_cast<const float**>(work_);
    for_each_tile(end - begin, [&](int64_t first, int64_t m) {
      Corner corners[kMR];
      locate(conv_, begin + first, m, corners);
      for (int64_t k = 0; k < conv_.d.kernel; ++k)
        for (int64_t i = 0; i < conv_.h.kernel; ++i, to += m * conv_.w.kernel)
          point_at_row(corners, m, k, i, to);
    });
  }

  // Points at the pixels of row (k, i) of m windows: (taps, m) pointers.
  void point_at_row(const Corner* corners, int64_t m, int64_t k, int64_t i,
                    const float** to) const {
    // Of each window the first column, and where it lies; beyond the image where the row does.
    int64_t x[kMR], at[kMR];
    for (int64_t p = 0; p < m; ++p) {
      const Row row = row_of_window(conv_, corners[p], k, i);
      x[p] = row.inside ? corners[p].x : conv_.w.in;
      at[p] = row.at + corners[p].x * conv_.in_c;
    }
    const float* const in = in_;
    const int64_t step = conv_.w.window_dilation * conv_.in_c;
    const auto width = static_cast<uint64_t>(conv_.w.in);
    for (int64_t j = 0, column = 0; j < conv_.w.kernel; ++j, column += conv_.w.window_dilation)
      for (int64_t p = 0; p < m; ++p) {
        const bool inside = static_cast<uint64_t>(x[p] + column) < width;
        *to++ = inside ? in + (at[p] + j * step) : kZeros;
      }
  }

  const Conv& conv_;
  const Plan& plan_;
  const float* const in_;
  const Prologue* const prologue_;
  float* const work_;
};

}  // namespace
}  // namespace resfuse
