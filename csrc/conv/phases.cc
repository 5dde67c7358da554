#include "conv/phases.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/arithmetic.h"

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

// Of a dilated window the pairs of an output and a tap that meet inside the image; of others all.
int64_t meetings(const Side& side) {
  if (side.window_dilation == 1) return side.out * side.kernel;
  int64_t count = 0;
  for (int64_t tap = 0; tap < side.kernel; ++tap) {
    const Outputs outputs = outputs_that_meet(side, tap);
    count += outputs.last - outputs.first;
  }
  return count;
}

int64_t meetings(const Conv& conv) {
  return conv.batch * meetings(conv.d) * meetings(conv.h) * meetings(conv.w);
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

// The taps of the same class, all of them.
SideTaps whole_class(const Side& side, const SideTaps& taps) {
  return class_at(side, taps.first % tap_step(side));
}

// How many of the class come before these.
int64_t taps_left_out(const SideTaps& taps, const SideTaps& all) {
  return (taps.first - all.first) / taps.step;
}

Taps combine(const Conv& conv, const SideTaps& d, const SideTaps& h, const SideTaps& w,
             bool mirrored) {
  const SideTaps all_d = whole_class(conv.d, d), all_h = whole_class(conv.h, h),
                 all_w = whole_class(conv.w, w);
  const int64_t row = all_w.count, plane = all_h.count * row;
  const int64_t before_row = taps_before(all_h) * w.whole + all_h.count * taps_before(all_w);
  const int64_t before = taps_before(all_d) * h.whole * w.whole + all_d.count * before_row;
  const int64_t left_out =
      taps_left_out(d, all_d) * plane + taps_left_out(h, all_h) * row + taps_left_out(w, all_w);
  return {d, h, w, before + left_out, plane, row, mirrored};
}

Scatter scatter(const Conv& conv, const SidePhase& d, const SidePhase& h, const SidePhase& w) {
  const int64_t row = conv.w.out * conv.out_c, plane = conv.h.out * row;
  Scatter scatter{};
  const auto all = [](const Side& side, const SidePhase& phase) {
    return phase.step == 1 && phase.side.out == side.out;
  };
  scatter.dense = all(conv.d, d) && all(conv.h, h) && all(conv.w, w);
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

std::vector<Phase> phases(const Conv& conv, bool mirrored, Parts parts) {
  std::vector<Phase> all;
  const auto along_h = parts_of(conv.h, parts), along_w = parts_of(conv.w, parts);
  for (const SidePhase& d : parts_of(conv.d, parts))
    for (const SidePhase& h : along_h)
      for (const SidePhase& w : along_w)
        all.push_back({{conv.batch, conv.in_c, conv.out_c, conv.groups, d.side, h.side, w.side},
                       combine(conv, d.taps, h.taps, w.taps, mirrored),
                       scatter(conv, d, h, w)});
  for (Phase& phase : all) flatten_slices(phase);
  return all;
}

bool cutting_pays(const Conv& conv, int64_t products) {
  constexpr int64_t kFewestChannels = 32, kMostTaps = 27;
  for (const Side* side : {&conv.d, &conv.h, &conv.w})
    if (side->image_dilation > 1) return false;
  return conv.groups == 1 && conv.in_c >= kFewestChannels && conv.taps() <= kMostTaps &&
         meetings(conv) < products * 9 / 10;
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
      for (const SideTaps& w : along_w) all.push_back(combine(conv, d, h, w, mirrored));
  return all;
}

Conv mirrored(const Conv& conv) {
  return {conv.batch,       conv.out_c,       conv.in_c,       conv.groups,
          mirrored(conv.d), mirrored(conv.h), mirrored(conv.w)};
}

}  // namespace resfuse
