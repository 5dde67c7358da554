#include "conv/phases.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace resfuse {
namespace {

// The number of outputs between those of a phase, and of taps between those of a class.
int64_t output_step(const Side& side) {
  return side.image_dilation / std::gcd(side.image_dilation, side.stride);
}
int64_t tap_step(const Side& side) {
  return side.image_dilation / std::gcd(side.image_dilation, side.window_dilation);
}

// The taps first, first + T, ...
SideTaps class_at(const Side& side, int64_t first) {
  const int64_t step = tap_step(side);
  return {first, step, first < side.kernel ? (side.kernel - 1 - first) / step + 1 : 0, side.kernel};
}

// How many taps the classes before this one have.
int64_t taps_before(const SideTaps& taps) {
  return taps.first * (taps.whole / taps.step) + std::min(taps.first, taps.whole % taps.step);
}

int64_t modulo(int64_t a, int64_t b) { return (a % b + b) % b; }

// The inverse of `a` modulo `b`, which have no common divisor (Euclid's extended algorithm).
int64_t inverse(int64_t a, int64_t b) {
  int64_t r0 = b, r1 = a % b, x0 = 0, x1 = 1;
  while (r1 > 0) {
    const int64_t quotient = r0 / r1;
    r0 = std::exchange(r1, r0 - quotient * r1);
    x0 = std::exchange(x1, x0 - quotient * x1);
  }
  return modulo(x0, b);
}

// The first tap that output y meets, if taps had no end, or -1: i with i d = pad - y s modulo b.
int64_t first_tap(const Side& side, int64_t y) {
  const int64_t b = side.image_dilation, common = std::gcd(b, side.window_dilation);
  const int64_t rest = modulo(side.pad - y * side.stride, b);
  if (rest % common != 0) return -1;
  const int64_t step = b / common;
  return rest / common % step * inverse(side.window_dilation / common, step) % step;
}

struct SidePhase {
  Side side;
  SideTaps taps;
  int64_t first, step;  // outputs
};

SidePhase phase_at(const Side& side, int64_t y) {
  const int64_t b = side.image_dilation, tap = first_tap(side, y), step = output_step(side);
  SidePhase phase{{}, class_at(side, std::max<int64_t>(tap, 0)), y, step};
  if (tap < 0 || side.in == 0) phase.taps.count = 0;
  phase.side.in = side.in, phase.side.kernel = phase.taps.count;
  phase.side.out = (side.out - 1 - y) / step + 1;
  phase.side.stride = side.stride / std::gcd(b, side.stride);
  if (phase.taps.count == 0) return phase;
  phase.side.pad = -((y * side.stride - side.pad + tap * side.window_dilation) / b);
  phase.side.window_dilation = side.window_dilation / std::gcd(b, side.window_dilation);
  return phase;
}

std::vector<SidePhase> phases_of(const Side& side) {
  std::vector<SidePhase> phases;
  for (int64_t y = 0; y < std::min(output_step(side), side.out); ++y)
    phases.push_back(phase_at(side, y));
  return phases;
}

std::vector<SideTaps> classes_of(const Side& side) {
  std::vector<SideTaps> classes;
  for (int64_t first = 0; first < std::min(tap_step(side), side.kernel); ++first)
    classes.push_back(class_at(side, first));
  return classes;
}

Taps combine(const SideTaps& d, const SideTaps& h, const SideTaps& w, bool mirrored) {
  const int64_t before_row = taps_before(h) * w.whole + h.count * taps_before(w);
  const int64_t before = taps_before(d) * h.whole * w.whole + d.count * before_row;
  return {d, h, w, before, mirrored};
}

Scatter scatter(const Conv& conv, const SidePhase& d, const SidePhase& h, const SidePhase& w) {
  const int64_t row = conv.w.out * conv.out_c, plane = conv.h.out * row;
  Scatter scatter{};
  scatter.dense = d.step == 1 && h.step == 1 && w.step == 1;
  scatter.first = d.first * plane + h.first * row + w.first * conv.out_c;
  scatter.image = conv.d.out * plane;
  scatter.plane = d.step * plane;
  scatter.row = h.step * row;
  scatter.pixel = w.step * conv.out_c;
  return scatter;
}

// A window along the depth alone is one along the height of images whose rows are whole slices.
void flatten_slices(Phase& phase) {
  Conv& conv = phase.conv;
  const bool slices = conv.h.is_identity() && conv.w.is_identity();
  if (conv.d.kernel == 1 || !slices || !phase.scatter.dense) return;
  conv.w.in = conv.w.out = conv.h.in * conv.w.in;
  conv.h = conv.d;
  conv.d = Side{};
  phase.scatter.row = phase.scatter.plane;
}

Side mirrored(const Side& side) {
  return {side.out,
          side.kernel,
          side.in,
          side.image_dilation,
          side.extent() - 1 - side.pad,
          side.window_dilation,
          side.stride};
}

}  // namespace

std::vector<Phase> phases(const Conv& conv, bool mirrored) {
  std::vector<Phase> all;
  const auto along_h = phases_of(conv.h), along_w = phases_of(conv.w);
  for (const SidePhase& d : phases_of(conv.d))
    for (const SidePhase& h : along_h)
      for (const SidePhase& w : along_w)
        all.push_back({{conv.batch, conv.in_c, conv.out_c, conv.groups, d.side, h.side, w.side},
                       combine(d.taps, h.taps, w.taps, mirrored),
                       scatter(conv, d, h, w)});
  for (Phase& phase : all) flatten_slices(phase);
  return all;
}

double count_phases(const Conv& conv) {
  double count = 1.0;
  for (const Side* side : {&conv.d, &conv.h, &conv.w})
    count *= static_cast<double>(std::min(output_step(*side), side->out));
  return count;
}

std::vector<Taps> tap_classes(const Conv& conv, bool mirrored) {
  std::vector<Taps> all;
  const auto along_h = classes_of(conv.h), along_w = classes_of(conv.w);
  for (const SideTaps& d : classes_of(conv.d))
    for (const SideTaps& h : along_h)
      for (const SideTaps& w : along_w) all.push_back(combine(d, h, w, mirrored));
  return all;
}

Conv mirrored(const Conv& conv) {
  return {conv.batch,       conv.out_c,       conv.in_c,       conv.groups,
          mirrored(conv.d), mirrored(conv.h), mirrored(conv.w)};
}

}  // namespace resfuse
