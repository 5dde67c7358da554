#include "conv/plan.h"

#include <algorithm>

#include "conv/winograd_choice.h"
#include "conv/winograd_plan.h"

namespace resfuse {
namespace {

// From this many pixels on, packing all weights before anything else costs less than reading the
// images again for each panel. Below, units pack their own panels, which then stay in the cache.
constexpr int64_t kPackFirstPixels = 64;
// Below this many multiply-adds a thread (about 20 us) waking helpers costs more than it saves.
constexpr double kThreadWork = 1 << 20;
// So many panels a unit packs for itself.
constexpr int64_t kUnitPanels = 1, kWinogradUnitPanels = 2;

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

bool is_pointwise(const Conv& conv) {
  return conv.groups == 1 && conv.d.is_identity() && conv.h.is_identity() && conv.w.is_identity();
}

// Copying a block's windows pays where runs are short, as in a stem of three channels; and where
// pixels lie a multiple of a page apart, so that the rows of a tile would fall into one set of L1.
bool gathering_pays(const Conv& conv, const Passes& passes) {
  if (conv.groups > 1 || conv.reduction() > kMaxPassFloats) return false;
  const bool short_runs = passes.runs > 1 && passes.run_length < 32;
  const bool same_set = conv.taps() == 1 && conv.in_c % 1024 == 0;
  return short_runs || same_set;
}

// Panels share the pointers to a block's windows where runs are taps, which need no copies at the
// edges, and go through in a single pass, where not all panels are cut, and where the zeros outside
// the image are long enough for the last panel.
bool can_share(const Conv& conv, const Layout& layout, const Passes& passes) {
  const bool single_pass =
      passes.pass_runs == passes.runs && passes.pass_length == passes.run_length;
  const bool whole_panel = !layout.grouped || conv.out_c >= layout.nr;
  const bool taps = conv.groups > 1 || conv.row_runs() > 1;
  return taps && single_pass && whole_panel && conv.in_c <= kMaxPassFloats;
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

// Whole panels of channels, as many as leave the rows that a window meets in half of L1: the other
// is for outputs and weights.
int64_t strip_channels(const Conv& conv, const Layout& layout, const Machine& machine) {
  const double pixels =
      static_cast<double>(conv.d.kernel * conv.h.kernel) * static_cast<double>(conv.w.in);
  const auto fitting = static_cast<double>(machine.l1d / 2) / sizeof(float) / std::max(pixels, 1.0);
  return std::max<int64_t>(1, static_cast<int64_t>(fitting) / layout.nr) * layout.nr;
}

DirectPlan plan_direct(const Conv& conv, const Layout& layout, const Machine& machine, bool in_one,
                       bool prologue) {
  constexpr auto kPointerFloats = static_cast<int64_t>(sizeof(intptr_t) / sizeof(float));
  // Without taps there is nothing to read.
  if (conv.taps() == 0) return {Inputs::kPointwise, {}, 0, 0};
  const Passes passes = cut_window(conv, layout, in_one);
  // Up to a vector beyond its window is overwritten with each copy.
  if (prologue || (in_one && gathering_pays(conv, passes)))
    return {Inputs::kGathered, passes, padded_row(conv.reduction() + 15), 0};
  if (is_pointwise(conv)) return {Inputs::kPointwise, passes, 0, 0};
  if (in_one && goes_along_rows(conv, layout, passes))
    return {Inputs::kRows, passes, 0, strip_channels(conv, layout, machine)};
  if (can_share(conv, layout, passes))
    return {Inputs::kShared, passes, passes.runs * kPointerFloats, 0};
  return {Inputs::kWindows, passes, 0, 0};
}

// What a block holds in the cache for each of its pixels: as many pixels of the image as the stride
// brings in, of which those between the windows are not read. In doubles, for a stride may be far
// larger than its image.
int64_t cached_floats(const Conv& conv, const DirectPlan& direct) {
  if (direct.inputs == Inputs::kGathered) return direct.pixel_floats;
  double inputs = static_cast<double>(conv.in_c);
  for (const Side* side : {&conv.d, &conv.h, &conv.w})
    inputs *= static_cast<double>(std::clamp<int64_t>(side->kernel, 1, side->stride));
  return direct.pixel_floats + static_cast<int64_t>(std::min(inputs, 1e15));
}

// Of a single block, threads share the panels: each reads all inputs, which stay in its L2, and its
// share of the weights, where two blocks would have both read all weights. This pays where the
// inputs are less than the weights.
bool sharing_panels_pays(const Conv& conv, const Layout& layout) {
  return static_cast<double>(conv.pixels()) * static_cast<double>(conv.in_c) <
         static_cast<double>(layout.panels * layout.panel_floats());
}

// Cuts the pixels into blocks of whole tiles, or of whole rows where tiles go along them.
Cut cut_pixels(const Conv& conv, TileShape tile, const Plan& plan, const Machine& machine,
               bool training) {
  const int64_t pixels = block_floats(machine) / cached_floats(conv, plan.direct);
  const bool by_rows = plan.direct.inputs == Inputs::kRows && conv.w.out <= pixels;
  const int64_t step = by_rows ? std::max<int64_t>(1, conv.w.out) : tile.mr;
  const int64_t tiles = std::max<int64_t>(1, ceil_div(conv.pixels(), step));
  int64_t blocks = ceil_div(tiles, std::max<int64_t>(1, pixels / step));
  if (training)
    blocks = std::min(blocks, kMaxBlocks);
  else if (blocks > 1 || !sharing_panels_pays(conv, plan.layout))
    blocks = balanced(blocks, plan.threads);
  const int64_t size = ceil_div(tiles, blocks) * step;
  return {size, ceil_div(conv.pixels(), size)};
}

Packing choose_packing(const Conv& conv, const Plan& plan, bool packed) {
  if (packed) return Packing::kCaller;
  // A single block of Winograd's meets each panel once.
  const bool pays = plan.algorithm == Algorithm::kWinograd ? plan.blocks.count > 1
                                                           : conv.pixels() >= kPackFirstPixels;
  return pays ? Packing::kCall : Packing::kUnit;
}

// Weights that are packed for all phases lie farther apart than those of one.
void lie_among_all(const Taps& taps, Layout& layout) {
  layout.all_taps = taps.whole();
  layout.plane_taps = taps.plane;
  layout.row_taps = taps.row;
}

struct UnitSize {
  int64_t panels, blocks;
};

// About four units a thread balance the load. Packed weights are cut by blocks first, so that a
// unit's images are read once; others by panels first, so that a panel is packed once.
UnitSize size_units(const Plan& plan, int64_t blocks) {
  const bool winograd = plan.algorithm == Algorithm::kWinograd;
  const bool resident = winograd && plan.winograd.resident;
  const int64_t panels = plan.layout.panels;
  const int64_t wanted = plan.threads == 1 ? 1 : 4 * plan.threads;
  if (plan.packing == Packing::kUnit) {
    const int64_t unit_panels = std::min(winograd ? kWinogradUnitPanels : kUnitPanels, panels);
    const int64_t cuts = ceil_div(wanted, ceil_div(panels, unit_panels));
    return {unit_panels, ceil_div(blocks, std::min(cuts, blocks))};
  }
  // Each thread transforms the weights of its panels, and all inputs: fewer tiles than output
  // channels are less work to do twice.
  if (resident && plan.blocks.count * plan.blocks.size < panels * plan.layout.nr)
    return {ceil_div(panels, std::min(plan.threads, panels)), blocks};
  const int64_t cuts = resident ? 1 : ceil_div(wanted, blocks);
  return {ceil_div(panels, std::min(cuts, panels)), plan.threads == 1 ? blocks : 1};
}

void cut_units(Plan& plan) {
  const UnitSize unit = size_units(plan, std::max<int64_t>(1, plan.blocks.count));
  plan.unit_panels = {unit.panels, ceil_div(plan.layout.panels, unit.panels)};
  plan.unit_blocks = {unit.blocks, ceil_div(plan.blocks.count, unit.blocks)};
  plan.threads = std::min(plan.threads, std::max<int64_t>(1, plan.units()));
}

// Copies of windows that hang over an edge lie behind what the block's panels share.
int64_t direct_work_floats(const DirectPlan& direct, int64_t block_size, TileShape tile) {
  const int64_t shared = block_size * direct.pixel_floats;
  const int64_t copies = direct.passes.pass_runs * direct.passes.pass_length * tile.mr;
  return direct.inputs == Inputs::kGathered ? shared : shared + copies;
}

void set_scratch(const Conv& conv, TileShape tile, Plan& plan) {
  const int64_t packed = plan.unit_panels.size * plan.layout.panel_floats();
  const int64_t work = plan.algorithm == Algorithm::kWinograd
                           ? winograd_work_floats(conv, plan)
                           : direct_work_floats(plan.direct, plan.blocks.size, tile);
  plan.packed_floats = plan.packing == Packing::kUnit ? static_cast<size_t>(packed) : 0;
  plan.work_floats = static_cast<size_t>(work);
}

}  // namespace

double multiply_adds(const Conv& conv) {
  return static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c) *
         static_cast<double>(std::max<int64_t>(conv.reduction(), 1));
}

int64_t useful_threads(double work, int64_t max_threads) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::min(work / kThreadWork, static_cast<double>(max_threads))));
}

int64_t balanced(int64_t blocks, int64_t threads) {
  return blocks < 8 * threads ? round_up(blocks, threads) : blocks;
}

int64_t block_floats(const Machine& machine) { return share_of_l2(machine, 96 << 10); }

int64_t padded_row(int64_t floats) {
  const int64_t row = round_up(floats, 16);
  return row % 32 == 0 ? row + 16 : row;
}

Plan make_plan(const Conv& conv, const Taps& taps, TileShape tile, const Machine& machine,
               const Request& request) {
  Plan plan{};
  plan.layout = make_layout(conv, tile.nr);
  plan.threads = useful_threads(multiply_adds(conv), request.max_threads);
  // Sums are kept by block in training, so there neither caches nor threads may cut the blocks.
  const Machine& caches = request.training ? kReferenceMachine : machine;
  const int64_t threads = request.training ? 1 : plan.threads;
  const bool in_one = taps.side_by_side();
  const int64_t output = in_one ? winograd_output(conv, tile, request.choice) : 0;
  if (output > 0) {
    plan.algorithm = Algorithm::kWinograd;
    plan.winograd = plan_winograd(conv, plan.layout, caches, output);
    plan.blocks = cut_tiles(conv, tile, plan.winograd, caches, threads);
  } else {
    plan.algorithm = plan.layout.grouped ? Algorithm::kGrouped : Algorithm::kDirect;
    plan.direct = plan_direct(conv, plan.layout, caches, in_one, request.prologue);
    plan.blocks = cut_pixels(conv, tile, plan, caches, request.training);
  }
  plan.packing = choose_packing(conv, plan, request.packed);
  if (plan.packing != Packing::kUnit) lie_among_all(taps, plan.layout);
  cut_units(plan);
  set_scratch(conv, tile, plan);
  return plan;
}

Unit unit_at(const Plan& plan, int64_t index) {
  // Neighbours share blocks if the weights are packed, so that a transformed block is used again,
  // and panels if not.
  const bool packed = plan.packing != Packing::kUnit;
  const Cut &panels = plan.unit_panels, &blocks = plan.unit_blocks;
  const int64_t panel = packed ? index % panels.count : index / blocks.count;
  const int64_t block = packed ? index / panels.count : index % blocks.count;
  const int64_t first_panel = panel * panels.size, first_block = block * blocks.size;
  return {first_panel, std::min(first_panel + panels.size, plan.layout.panels), first_block,
          std::min(first_block + blocks.size, plan.blocks.count)};
}

void pack_panel(const Job& job, int64_t panel, float* to) {
  pack_panel(job.conv, job.plan.layout, job.taps, job.operands.kernel, panel, to);
}

}  // namespace resfuse
