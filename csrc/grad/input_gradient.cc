#include "grad/input_gradient.h"

#include <algorithm>

namespace resfuse {
namespace {

// One side of the image, and what goes along it.
struct Side {
  int64_t in, kernel, stride, pad;
};

// The same of a phase: rows `first`, `first` + stride, ... of the input, `count` in all.
struct PhaseSide {
  int64_t first, count;
  int64_t taps, remainder, pad;
};

PhaseSide phase_at(const Side& side, int64_t remainder) {
  const int64_t offset = (remainder - side.pad) % side.stride;
  const int64_t first = offset < 0 ? offset + side.stride : offset;
  const int64_t count = first < side.in ? (side.in - 1 - first) / side.stride + 1 : 0;
  const int64_t taps = (side.kernel - remainder - 1) / side.stride + 1;
  const int64_t q = (first + side.pad - remainder) / side.stride;
  return {first, count, taps, remainder, taps - 1 - q};
}

std::vector<PhaseSide> phases_of(const Side& side) {
  std::vector<PhaseSide> phases;
  for (int64_t remainder = 0; remainder < std::min(side.stride, side.kernel); ++remainder)
    if (const PhaseSide phase = phase_at(side, remainder); phase.count > 0) phases.push_back(phase);
  return phases;
}

// The convolution of d_out, whose channels are the outputs of `conv`.
Conv convolution(const Conv& conv, const PhaseSide& y, const PhaseSide& x) {
  Conv phase{};
  phase.batch = conv.batch, phase.groups = conv.groups;
  phase.h.in = conv.h.out, phase.w.in = conv.w.out, phase.in_c = conv.out_c;
  phase.h.kernel = y.taps, phase.w.kernel = x.taps;
  phase.h.out = y.count, phase.w.out = x.count, phase.out_c = conv.in_c;
  phase.h.stride = phase.w.stride = 1;
  phase.h.pad = y.pad, phase.w.pad = x.pad;
  return phase;
}

Phase make_phase(const Conv& conv, const PhaseSide& y, const PhaseSide& x) {
  Phase phase{convolution(conv, y, x), {}, {}};
  phase.taps.last_h = y.remainder + conv.h.stride * (y.taps - 1), phase.taps.step_h = conv.h.stride;
  phase.taps.last_w = x.remainder + conv.w.stride * (x.taps - 1), phase.taps.step_w = conv.w.stride;
  phase.taps.kernel_w = conv.w.kernel;
  const int64_t row = conv.w.in * conv.in_c;
  phase.scatter.first = y.first * row + x.first * conv.in_c;
  phase.scatter.image = conv.h.in * row;
  phase.scatter.row = conv.h.stride * row;
  phase.scatter.pixel = conv.w.stride * conv.in_c;
  return phase;
}

}  // namespace

std::vector<Phase> input_gradient_phases(const Conv& conv) {
  std::vector<Phase> phases;
  if (conv.pixels() == 0) return phases;
  for (const PhaseSide& y : phases_of({conv.h.in, conv.h.kernel, conv.h.stride, conv.h.pad}))
    for (const PhaseSide& x : phases_of({conv.w.in, conv.w.kernel, conv.w.stride, conv.w.pad}))
      phases.push_back(make_phase(conv, y, x));
  return phases;
}

bool phases_cover_input(const Conv& conv) {
  return conv.pixels() > 0 && conv.h.stride <= conv.h.kernel && conv.w.stride <= conv.w.kernel;
}

}  // namespace resfuse
