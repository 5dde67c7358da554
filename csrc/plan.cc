#include "plan.h"

#include <algorithm>

namespace resfuse {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Below this many multiply-adds a thread (about 20 us) waking helpers costs more than it saves.
constexpr double kThreadWork = 1 << 20;

int64_t useful_threads(const Conv& conv, int64_t max_threads) {
  const double work = static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c) *
                      static_cast<double>(conv.reduction());
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::min(work / kThreadWork, static_cast<double>(max_threads))));
}

// About four units a thread balance the load; where the panels alone are that many, a panel's
// blocks stay together and its weights are packed once.
void cut_units(Plan& plan, int64_t panels) {
  const int64_t blocks = std::max<int64_t>(1, plan.blocks);
  const int64_t wanted = plan.threads == 1 ? 1 : ceil_div(4 * plan.threads, panels);
  plan.unit_blocks = ceil_div(blocks, std::min(wanted, blocks));
  plan.units_per_panel = ceil_div(plan.blocks, plan.unit_blocks);
  plan.units = panels * plan.units_per_panel;
  plan.threads = std::min(plan.threads, std::max<int64_t>(1, plan.units));
}

void plan_direct(const Conv& conv, TileShape tile, Plan& plan) {
  plan.panels_per_group = ceil_div(conv.group_out(), tile.nr);
  // Blocks of at least 8 tiles, whole tiles each.
  const int64_t tiles = ceil_div(conv.pixels(), tile.mr);
  plan.block_size = std::max<int64_t>(8, ceil_div(tiles, kMaxBlocks)) * tile.mr;
  plan.blocks = ceil_div(conv.pixels(), plan.block_size);

  plan.run_length = conv.groups == 1 ? conv.kernel_w * conv.in_c : conv.group_in();
  plan.runs = conv.reduction() / plan.run_length;
  plan.pass_length = std::min(plan.run_length, kMaxPassFloats);
  plan.pass_runs =
      std::clamp<int64_t>(kMaxPassFloats / plan.run_length, 1, std::min(plan.runs, kMaxPassRuns));
  plan.panel_floats = static_cast<size_t>(conv.reduction() * tile.nr);
  plan.work_floats = static_cast<size_t>(plan.pass_runs * plan.pass_length * tile.mr);
}

// Floats of the transformed inputs and products of `rows` tiles.
int64_t winograd_floats(const Conv& conv, TileShape tile, int64_t rows) {
  return kWinogradPoints * (rows * (conv.in_c + tile.nr) + 2 * kWinogradPad);
}

bool winograd_pays(const Conv& conv, TileShape tile, int64_t tiles) {
  const bool applies = conv.kernel_h == 3 && conv.kernel_w == 3 && conv.stride_h == 1 &&
                       conv.stride_w == 1 && conv.groups == 1;
  // Transforms work on whole vectors of input channels, and must be few beside the products.
  const bool channels = conv.in_c % (tile.nr / 2) == 0 && conv.in_c >= 32 && conv.out_c >= 32;
  // Eight tiles repay the transform of the weights; fewer than half of 4x4 outputs in use repay
  // nothing (direct takes 9 products an output, a tile 36).
  const bool size = tiles >= 8 && conv.pixels() >= 8 * tiles;
  return applies && channels && size && winograd_floats(conv, tile, tile.mr) <= kMaxWorkFloats;
}

void plan_winograd(const Conv& conv, TileShape tile, int64_t tiles, Plan& plan) {
  plan.winograd = true;
  plan.panels_per_group = ceil_div(conv.out_c, kWinogradPanel * tile.nr);
  int64_t rows = tile.mr;
  while (rows < tiles && winograd_floats(conv, tile, rows + tile.mr) <= kMaxWorkFloats / 2)
    rows += tile.mr;
  plan.blocks = ceil_div(tiles, rows);
  plan.block_size = ceil_div(tiles, plan.blocks);
  plan.panel_floats =
      static_cast<size_t>(kWinogradPanel * kWinogradPoints * (conv.in_c * tile.nr + kWinogradPad));
  plan.work_floats = static_cast<size_t>(winograd_floats(conv, tile, plan.block_size));
}

}  // namespace

Plan make_plan(const Conv& conv, TileShape tile, int64_t max_threads, bool winograd) {
  Plan plan{};
  plan.tiles_h = ceil_div(conv.out_h, kWinogradOutput);
  plan.tiles_w = ceil_div(conv.out_w, kWinogradOutput);
  const int64_t tiles = conv.batch * plan.tiles_h * plan.tiles_w;
  if (winograd && winograd_pays(conv, tile, tiles))
    plan_winograd(conv, tile, tiles, plan);
  else
    plan_direct(conv, tile, plan);
  plan.threads = useful_threads(conv, max_threads);
  cut_units(plan, plan.panels_per_group * conv.groups);
  return plan;
}

}  // namespace resfuse
