#include "conv/direct_plan.h"

#include <algorithm>

namespace resfuse {
namespace {

// A pass ends where the weights of other taps lie between those of its runs, unless `in_one`.
Passes cut_window(const Conv& conv, const Layout& layout, bool in_one) {
  Passes passes{};
  const int64_t row_taps = conv.w.kernel / conv.row_runs();
  passes.run_length = layout.grouped ? layout.nr : row_taps * conv.group_in();
  passes.runs = layout.taps / row_taps;
  passes.pass_length = std::min(passes.run_length, kMaxPassFloats);
  const int64_t together = in_one ? passes.runs : conv.row_runs();
  passes.pass_runs =
      std::clamp<int64_t>(kMaxPassFloats / passes.run_length, 1, std::min(together, kMaxPassRuns));
  return passes;
}

bool is_single_pass(const Passes& passes) {
  return passes.pass_runs == passes.runs && passes.pass_length == passes.run_length;
}

// The floats of a run that a tile of neighbours reads, from the first to the last.
int64_t tile_span(const Conv& conv, const Passes& passes, TileShape tile) {
  return (tile.mr - 1) * conv.w.stride * conv.in_c + passes.run_length;
}

// A copy of the pixels that a strided 1x1 window reads costs as much as finding them for two
// panels.
bool copying_pixels_pays(const Conv& conv, const Layout& layout) {
  return conv.taps() == 1 && !conv.is_pointwise() && layout.panels > 2;
}

// Neighbours in a row of outputs need one pointer for each run, where a tile of any pixels needs MR
// of them. But a row is cut into tiles of its own, and a low one takes as long to read the weights,
// and with eight accumulators or fewer waits for its multiply-adds. As measured, what MR pointers
// cost makes up for 4 MR^2 steps of a reduction in tiles of half the height. Gathered 1x1 windows
// have neither cost: 14x14 in tiles of 12, 512 to 1024 channels, took 1.11 times as long along
// rows, 28x28 as long either way.
bool rows_fill_tiles(const Conv& conv, const Layout& layout, TileShape tile) {
  const int64_t tiles = ceil_div(conv.w.out, tile.mr), missing = tiles * tile.mr - conv.w.out;
  if (copying_pixels_pays(conv, layout) && 2 * missing > conv.w.out) return false;
  return conv.w.out > 4 * tiles && conv.reduction() * missing <= 4 * tile.mr * tile.mr * conv.w.out;
}

// A run that hangs over an edge is copied, or it is zeros, of which there are kMaxPassFloats.
bool striding_pays(const Conv& conv, const Layout& layout, const Passes& passes, TileShape tile) {
  if (conv.groups > 1 || conv.is_pointwise() || !is_single_pass(passes)) return false;
  return conv.w.stride <= kMaxPassFloats && rows_fill_tiles(conv, layout, tile) &&
         tile_span(conv, passes, tile) * std::max<int64_t>(passes.runs, tile.mr) <=
             tile.mr * kMaxPassFloats;
}

// Copying a block's windows pays where runs are short and rows of outputs, too; where the rows of a
// tile would fall into one set of L1, pixels a multiple of a page apart; and with a stride.
bool gathering_pays(const Conv& conv, const Layout& layout, const Passes& passes) {
  if (conv.groups > 1 || conv.reduction() > kMaxPassFloats) return false;
  const bool short_runs = passes.runs > 1 && passes.run_length < 32;
  const bool same_set = conv.taps() == 1 && conv.in_c % 1024 == 0;
  return short_runs || same_set || copying_pixels_pays(conv, layout);
}

// Panels share the pointers to a block's windows where runs are taps, which need no copies at the
// edges, and go through in a single pass, where not all panels are cut, and where the zeros outside
// the image are long enough for the last panel.
bool can_share(const Conv& conv, const Layout& layout, const Passes& passes) {
  const bool whole_panel = !layout.grouped || conv.out_c >= layout.nr;
  const bool taps = conv.groups > 1 || conv.row_runs() > 1;
  return taps && is_single_pass(passes) && whole_panel && conv.in_c <= kMaxPassFloats;
}

// Whether there is a register tile along the rows (row_tile.h) for depthwise windows like these.
// It reads them in a single pass.
bool goes_along_rows(const Conv& conv, const Layout& layout, const Passes& passes) {
  const Side& w = conv.w;
  const bool is_depthwise = layout.grouped && conv.group_in() == 1;
  const bool is_narrow = w.kernel <= 3 || w.kernel == 5 || w.kernel == 7;
  const bool has_stride = w.stride == 1 || (w.stride == 2 && w.kernel >= 3);
  return is_depthwise && is_narrow && has_stride && w.window_dilation == 1 &&
         passes.pass_runs == passes.runs;
}

// Whether images are more than a quarter of L3, so that a panel's few channels of many pixels would
// come from memory. Of volumes, what a block meets lies apart.
bool comes_from_memory(const Conv& conv, const Layout& layout, const Machine& machine) {
  const auto floats = static_cast<double>(machine.l3 / 4) / sizeof(float);
  return conv.d.kernel == 1 && layout.panels > 1 && static_cast<double>(conv.in_floats()) > floats;
}

// What has so few channels is a network's input, which nobody wrote just before. Windows of
// three rows ask for its lines in an order that no processor expects: MobileNetV3-Large's first
// layer took 1.5 times as long.
bool is_picture(const Conv& conv) { return conv.d.kernel == 1 && conv.in_c <= 4; }

constexpr int64_t kFewRows = 3, kWidePanel = 32;

int64_t window_rows(const Conv& conv) { return conv.d.kernel * conv.h.kernel; }

// Whether it pays to bring a block of images from memory into L2 before rows go through it. Not
// where wide vectors have windows of more than three rows: they do so much with a row that
// processors have time to foresee the next one, if none is left out. 8x56x56x96 with windows of 7
// and 8x56x56x144 with windows of 5 took 0.83 to 0.95 of the time without; those of 3 1.2 to 1.5,
// with strides 1.03 to 1.5, and with AVX2 0.88 to 1.1. Asking for the next row within the register
// tile took 0.8 of the time of windows of 3, or 1.3 when others used the memory too.
bool bringing_pays(const Conv& conv, const Layout& layout) {
  return window_rows(conv) <= kFewRows || conv.h.stride > 1 || layout.nr < kWidePanel;
}

// All channels: processors foresee what lies side by side, and rows that L1 has no room for are in
// L2. In strips of 16 channels, of which L1 had room for three rows, 112x112x32 took 1.7 times as
// long with AVX2, and 56x56x144 1.2. Where L2 would be asked for more rows than that, and narrow
// tiles for many columns, whole panels whose rows fill L1: 28x28x240 with windows of 5 took 0.9 of
// the time (a Zen 4).
int64_t strip_channels(const Conv& conv, const Layout& layout, const Machine& machine) {
  const int64_t all = layout.panels * layout.nr, rows = window_rows(conv);
  if (rows <= kFewRows || layout.nr >= kWidePanel || comes_from_memory(conv, layout, machine))
    return std::min(all, kMaxStrip);
  const double pixels = static_cast<double>(rows) * static_cast<double>(conv.w.in);
  const auto fitting = static_cast<double>(machine.l1d) / sizeof(float) / std::max(pixels, 1.0);
  const int64_t panels = static_cast<int64_t>(fitting) / layout.nr;
  return std::clamp<int64_t>(panels, 1, kMaxStrip / layout.nr) * layout.nr;
}

}  // namespace

DirectPlan plan_direct(const Conv& conv, const Layout& layout, TileShape tile,
                       const Machine& machine, bool in_one, bool prologue) {
  constexpr auto kPointerFloats = static_cast<int64_t>(sizeof(intptr_t) / sizeof(float));
  // Without taps there is nothing to read.
  if (conv.taps() == 0) return {Inputs::kPointwise, {}, 0, 0, 0, false};
  const Passes passes = cut_window(conv, layout, in_one);
  if (!prologue && in_one && striding_pays(conv, layout, passes, tile))
    return {Inputs::kStrided, passes, 0, passes.runs * tile_span(conv, passes, tile), 0,
            is_picture(conv)};
  // Up to a vector beyond its window is overwritten with each copy.
  if (prologue || (in_one && gathering_pays(conv, layout, passes)))
    return {Inputs::kGathered, passes, padded_row(conv.reduction() + 15), 0, 0, false};
  if (conv.is_pointwise()) return {Inputs::kPointwise, passes, 0, 0, 0, false};
  const bool from_memory = comes_from_memory(conv, layout, machine);
  const int64_t copies = passes.pass_runs * passes.pass_length * tile.mr;
  if (in_one && goes_along_rows(conv, layout, passes)) {
    const bool brings = from_memory && bringing_pays(conv, layout);
    return {Inputs::kRows, passes, 0, copies, strip_channels(conv, layout, machine), brings};
  }
  if (can_share(conv, layout, passes))
    return {Inputs::kShared, passes, passes.runs * kPointerFloats, copies, 0, from_memory};
  return {Inputs::kWindows, passes, 0, copies, 0, false};
}

int64_t cached_floats(const Conv& conv, const DirectPlan& direct) {
  if (direct.inputs == Inputs::kGathered) return direct.pixel_floats;
  double inputs = static_cast<double>(conv.in_c);
  for (const Side* side : {&conv.d, &conv.h, &conv.w})
    inputs *= static_cast<double>(std::clamp<int64_t>(side->kernel, 1, side->stride));
  const int64_t outputs = direct.inputs == Inputs::kStrided ? conv.out_c : 0;
  return direct.pixel_floats + outputs + static_cast<int64_t>(std::min(inputs, 1e15));
}

}  // namespace resfuse
