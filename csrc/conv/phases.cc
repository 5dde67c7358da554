#include "conv/phases.h"

#include <algorithm>

namespace resfuse {
namespace {

int64_t meetings(const Conv& conv) {
  return conv.batch * meetings(conv.d) * meetings(conv.h) * meetings(conv.w);
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
