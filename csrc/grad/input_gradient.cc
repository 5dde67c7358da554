#include "grad/input_gradient.h"

#include <algorithm>

namespace resfuse {
namespace {

// Along one side of the image.
struct Side {
  int64_t in, kernel, stride, pad;
};

struct Part {
  int64_t first, count;  // rows of the input
  int64_t taps, remainder, pad;
};

Part part_at(const Side& side, int64_t remainder) {
  const int64_t offset = (remainder - side.pad) % side.stride;
  const int64_t first = offset < 0 ? offset + side.stride : offset;
  const int64_t count = first < side.in ? (side.in - 1 - first) / side.stride + 1 : 0;
  const int64_t taps = (side.kernel - remainder - 1) / side.stride + 1;
  const int64_t q = (first + side.pad - remainder) / side.stride;
  return {first, count, taps, remainder, taps - 1 - q};
}

std::vector<Part> parts(const Side& side) {
  std::vector<Part> all;
  for (int64_t remainder = 0; remainder < std::min(side.stride, side.kernel); ++remainder)
    if (const Part part = part_at(side, remainder); part.count > 0) all.push_back(part);
  return all;
}

Phase make_phase(const Conv& conv, const Part& y, const Part& x) {
  Phase phase{};
  phase.conv = {conv.batch, conv.out_h, conv.out_w, conv.out_c, y.taps, x.taps, y.count,
                x.count,    conv.in_c,  1,          1,          y.pad,  x.pad,  conv.groups};
  phase.taps = {y.remainder + conv.stride_h * (y.taps - 1), conv.stride_h,
                x.remainder + conv.stride_w * (x.taps - 1), conv.stride_w, conv.kernel_w};
  const int64_t row = conv.in_w * conv.in_c;
  phase.scatter = {y.first * row + x.first * conv.in_c, conv.in_h * row, conv.stride_h * row,
                   conv.stride_w * conv.in_c};
  return phase;
}

}  // namespace

std::vector<Phase> input_gradient_phases(const Conv& conv) {
  std::vector<Phase> phases;
  if (conv.pixels() == 0) return phases;
  for (const Part& y : parts({conv.in_h, conv.kernel_h, conv.stride_h, conv.pad_top}))
    for (const Part& x : parts({conv.in_w, conv.kernel_w, conv.stride_w, conv.pad_left}))
      phases.push_back(make_phase(conv, y, x));
  return phases;
}

bool phases_cover_input(const Conv& conv) {
  return conv.pixels() > 0 && conv.stride_h <= conv.kernel_h && conv.stride_w <= conv.kernel_w;
}

}  // namespace resfuse
