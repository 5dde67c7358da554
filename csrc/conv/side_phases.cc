#include "conv/side_phases.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/arithmetic.h"

namespace resfuse {
namespace {

// The number of taps between those of a class.
int64_t tap_step(const Side& side) {
  return side.image_dilation / std::gcd(side.image_dilation, side.window_dilation);
}

// The taps first, first + T, ...
SideTaps class_at(const Side& side, int64_t first) {
  const int64_t step = tap_step(side);
  return {first, step, first < side.kernel ? (side.kernel - 1 - first) / step + 1 : 0, side.kernel};
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

// Outputs of a side, from the first to before the last.
struct Outputs {
  int64_t first, last;
};

// Those that meet a tap inside the image.
Outputs outputs_that_meet(const Side& side, int64_t tap) {
  const auto before = [&](int64_t place) {
    const int64_t from = side.pad - tap * side.window_dilation + place;
    return from <= 0 ? 0 : std::min(ceil_div(from, side.stride), side.out);
  };
  return {before(0), before(side.in)};
}

// Of a phase, the taps [tap, tap + count) and some outputs.
SidePhase part_of(const SidePhase& phase, int64_t tap, int64_t count, Outputs outputs) {
  SidePhase part = phase;
  part.side.kernel = part.taps.count = count;
  part.side.out = outputs.last - outputs.first;
  part.side.pad -= outputs.first * phase.side.stride + tap * phase.side.window_dilation;
  part.taps.first += tap * phase.taps.step;
  part.first += outputs.first * phase.step;
  return part;
}

std::vector<SidePhase> cut_by_taps(const SidePhase& phase) {
  std::vector<SidePhase> parts;
  for (int64_t tap = 0; tap < phase.taps.count; ++tap)
    parts.push_back(part_of(phase, tap, 1, outputs_that_meet(phase.side, tap)));
  return parts;
}

// A window moves over the image, so the taps that meet it are side by side.
std::vector<SidePhase> cut_by_regions(const SidePhase& phase) {
  std::vector<int64_t> edges{0, phase.side.out};
  for (int64_t tap = 0; tap < phase.taps.count; ++tap) {
    const Outputs outputs = outputs_that_meet(phase.side, tap);
    edges.insert(edges.end(), {outputs.first, outputs.last});
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<SidePhase> parts;
  for (size_t edge = 1; edge < edges.size(); ++edge) {
    int64_t first = 0, count = 0;
    for (int64_t tap = phase.taps.count - 1; tap >= 0; --tap) {
      const Outputs outputs = outputs_that_meet(phase.side, tap);
      if (outputs.first <= edges[edge - 1] && outputs.last >= edges[edge]) first = tap, ++count;
    }
    parts.push_back(part_of(phase, first, count, {edges[edge - 1], edges[edge]}));
  }
  return parts;
}

}  // namespace

int64_t output_step(const Side& side) {
  return side.image_dilation / std::gcd(side.image_dilation, side.stride);
}

int64_t taps_before(const SideTaps& taps) {
  return taps.first * (taps.whole / taps.step) + std::min(taps.first, taps.whole % taps.step);
}

int64_t meetings(const Side& side) {
  if (side.window_dilation == 1) return side.out * side.kernel;
  int64_t count = 0;
  for (int64_t tap = 0; tap < side.kernel; ++tap) {
    const Outputs outputs = outputs_that_meet(side, tap);
    count += outputs.last - outputs.first;
  }
  return count;
}

std::vector<SideTaps> classes_of(const Side& side) {
  std::vector<SideTaps> classes;
  for (int64_t first = 0; first < std::min(tap_step(side), side.kernel); ++first)
    classes.push_back(class_at(side, first));
  return classes;
}

std::vector<SidePhase> parts_of(const Side& side, Parts parts) {
  if (parts == Parts::kPhases || side.window_dilation == 1) return phases_of(side);
  std::vector<SidePhase> all;
  for (const SidePhase& phase : phases_of(side)) {
    const auto cut = parts == Parts::kTaps ? cut_by_taps(phase) : cut_by_regions(phase);
    all.insert(all.end(), cut.begin(), cut.end());
  }
  return all;
}

SideTaps whole_class(const Side& side, const SideTaps& taps) {
  return class_at(side, taps.first % tap_step(side));
}

}  // namespace resfuse
