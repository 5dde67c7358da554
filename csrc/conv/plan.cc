#include "conv/plan.h"

#include <algorithm>

#include "conv/direct_plan.h"
#include "conv/winograd_choice.h"
#include "conv/winograd_plan.h"

namespace resfuse {
namespace {

// From this many pixels on, packing all weights before anything else costs less than reading the
// images again for each panel. Below, units pack their own panels, which then stay in the cache.
constexpr int64_t kPackFirstPixels = 64;
// Below this many multiply-adds a thread (9 us) handing work over costs more than it saves.
constexpr double kThreadWork = 3 << 18;
// Inputs and outputs of a block, where outputs count: 128 KiB of a 1 MiB L2.
constexpr int64_t kPixelFloats = 32 << 10;
// So many panels a unit packs for itself.
constexpr int64_t kUnitPanels = 1, kWinogradUnitPanels = 2;

// Of a single block, threads share the panels: each reads all inputs, which stay in its L2, and its
// share of the weights, where two blocks would have both read all weights. This pays where the
// inputs are less than the weights; or where a panel reads inputs of its own, which then are what
// the same thread has written as a panel of the convolution before; but not where panels are so few
// that one thread has much more, as with five for two.
bool sharing_panels_pays(const Conv& conv, const Layout& layout, int64_t threads) {
  if (8 * layout.panels < 7 * round_up(layout.panels, threads)) return false;
  if (layout.grouped) return true;
  return static_cast<double>(conv.pixels()) * static_cast<double>(conv.in_c) <
         static_cast<double>(layout.panels * layout.panel_floats());
}

// The pixels of a block, which holds their inputs. Where 1x1 windows read the image itself and all
// weights stay in a quarter of an L2 from block to block, it holds the outputs as well (README:
// Windows, edges, passes); not in training, where each block has sums of its own.
int64_t pixels_of_block(const Conv& conv, const Plan& plan, const Machine& machine, bool training) {
  const int64_t inputs = cached_floats(conv, plan.direct);
  const int64_t weights = plan.layout.panels * plan.layout.panel_floats();
  const bool weights_stay = weights * static_cast<int64_t>(sizeof(float)) <= machine.l2 / 4;
  return plan.direct.inputs == Inputs::kPointwise && weights_stay && !training
             ? share_of_l2(machine, kPixelFloats) / (inputs + conv.out_c)
             : block_floats(machine) / inputs;
}

// The largest size of units, from a quarter of `most` on, for which the thread that has most has
// least.
int64_t even_size(int64_t whole, int64_t most, int64_t threads) {
  const auto share = [&](int64_t size) { return ceil_div(ceil_div(whole, size), threads) * size; };
  int64_t best = most;
  for (int64_t size = most - 1; 4 * size >= most && size > 0; --size)
    if (share(size) < share(best)) best = size;
  return best;
}

// Cuts the pixels into blocks of whole tiles, or of whole rows where tiles go along them; of few
// blocks, threads have as much each, and tiles are less high.
Cut cut_pixels(const Conv& conv, TileShape tile, const Plan& plan, const Machine& machine,
               bool training) {
  const int64_t pixels = pixels_of_block(conv, plan, machine, training);
  const bool along_rows =
      plan.direct.inputs == Inputs::kRows || plan.direct.inputs == Inputs::kStrided;
  const bool by_rows = along_rows && conv.w.out <= pixels;
  const int64_t step = by_rows ? std::max<int64_t>(1, conv.w.out) : tile.mr;
  const int64_t tiles = std::max<int64_t>(1, ceil_div(conv.pixels(), step));
  int64_t blocks = ceil_div(tiles, std::max<int64_t>(1, pixels / step));
  if (training)
    blocks = std::min(blocks, kMaxBlocks);
  else if (blocks > 1 || !sharing_panels_pays(conv, plan.layout, plan.threads))
    blocks = balanced(blocks, plan.threads);
  const int64_t size = ceil_div(tiles, blocks) * step;
  const bool is_even = plan.threads == 1 || training || blocks == 1 || blocks >= 8 * plan.threads;
  if (is_even || along_rows != by_rows) return {size, ceil_div(conv.pixels(), size)};
  const int64_t least = by_rows ? step : 1;
  const int64_t even =
      even_size(ceil_div(conv.pixels(), least), size / least, plan.threads) * least;
  return {even, ceil_div(conv.pixels(), even)};
}

Packing choose_packing(const Conv& conv, const Plan& plan, bool packed) {
  if (packed) return Packing::kCaller;
  // A single block of Winograd's meets each panel once.
  const bool pays = plan.algorithm == Algorithm::kWinograd ? plan.blocks.count > 1
                                                           : conv.pixels() >= kPackFirstPixels;
  return pays ? Packing::kCall : Packing::kUnit;
}

// Whether the weights are multiplied in place of an image's pixels, of which there need be no copy:
// where these are many more than output channels, for each thread has all weights to multiply, and
// so many that no unit packs its own.
bool scales_weights(const Conv& conv, Images images) {
  return images == Images::kScaled && conv.is_pointwise() &&
         conv.pixels() >= conv.batch * std::max(4 * conv.out_c, kPackFirstPixels);
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
  UnitSize unit = size_units(plan, std::max<int64_t>(1, plan.blocks.count));
  if (plan.blocks.count == 1 && plan.packing != Packing::kUnit)
    unit.panels = even_size(plan.layout.panels, unit.panels, plan.threads);
  plan.unit_panels = {unit.panels, ceil_div(plan.layout.panels, unit.panels)};
  plan.unit_blocks = {unit.blocks, ceil_div(plan.blocks.count, unit.blocks)};
  plan.threads = std::min(plan.threads, std::max<int64_t>(1, plan.units()));
}

// Copies of windows that hang over an edge lie behind what the block's panels share.
int64_t direct_work_floats(const Plan& plan) {
  return plan.blocks.size * plan.direct.pixel_floats + plan.direct.copy_floats;
}

void set_scratch(const Conv& conv, Plan& plan) {
  const int64_t packed = plan.unit_panels.size * plan.layout.panel_floats();
  const int64_t work = plan.algorithm == Algorithm::kWinograd ? winograd_work_floats(conv, plan)
                                                              : direct_work_floats(plan);
  plan.packed_floats = plan.copies_weights() ? static_cast<size_t>(packed) : 0;
  plan.work_floats = static_cast<size_t>(work);
}

}  // namespace

double multiply_adds(const Conv& conv) {
  return static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c) *
         static_cast<double>(std::max<int64_t>(conv.reduction(), 1));
}

double work_of(const Conv& conv) {
  const auto weights = static_cast<double>(conv.reduction()) * static_cast<double>(conv.out_c);
  const auto outputs = static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c);
  return multiply_adds(conv) +
         kFloatWork * (static_cast<double>(conv.in_floats()) + weights + outputs);
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
  plan.threads = useful_threads(work_of(conv) + request.others, request.max_threads);
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
    plan.scales_weights = scales_weights(conv, request.images);
    const bool copies = request.images != Images::kPlain && !plan.scales_weights;
    plan.direct = plan_direct(conv, plan.layout, tile, caches, in_one, copies);
    plan.blocks = cut_pixels(conv, tile, plan, caches, request.training);
  }
  plan.packing = choose_packing(conv, plan, request.packed);
  if (plan.packing != Packing::kUnit) lie_among_all(taps, plan.layout);
  cut_units(plan);
  set_scratch(conv, plan);
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
