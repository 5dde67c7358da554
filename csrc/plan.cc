#include "plan.h"

#include <algorithm>

namespace resfuse {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Below this many multiply-adds a thread (about 20 us) waking helpers costs more than it saves.
constexpr int64_t kThreadWork = 1 << 20;

int64_t useful_threads(const Conv& conv, int64_t max_threads) {
  const double work = static_cast<double>(conv.pixels()) * static_cast<double>(conv.out_c) *
                      static_cast<double>(conv.reduction());
  const double useful = std::min(work / kThreadWork, static_cast<double>(max_threads));
  return std::max<int64_t>(1, static_cast<int64_t>(useful));
}

}  // namespace

Plan make_plan(const Conv& conv, TileShape tile, int64_t max_threads) {
  Plan plan{};
  plan.panels_per_group = ceil_div(conv.group_out(), tile.nr);
  const int64_t panels = plan.panels_per_group * conv.groups;

  // Blocks of at least 8 tiles, whole tiles each.
  const int64_t tiles = ceil_div(conv.pixels(), tile.mr);
  plan.block_pixels = std::max<int64_t>(8, ceil_div(tiles, kMaxBlocks)) * tile.mr;
  plan.blocks = ceil_div(conv.pixels(), plan.block_pixels);

  // About eight units a thread balance the load; where the panels alone are that many, a panel's
  // blocks stay together and its weights are packed once.
  plan.threads = useful_threads(conv, max_threads);
  const int64_t wanted = plan.threads == 1 ? 1 : ceil_div(8 * plan.threads, panels);
  plan.unit_blocks = ceil_div(plan.blocks, std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, plan.blocks)));
  plan.units_per_panel = plan.blocks == 0 ? 0 : ceil_div(plan.blocks, plan.unit_blocks);
  plan.units = panels * plan.units_per_panel;
  plan.threads = std::min(plan.threads, std::max<int64_t>(1, plan.units));

  plan.run_length = conv.groups == 1 ? conv.kernel_w * conv.in_c : conv.group_in();
  plan.runs = conv.reduction() / plan.run_length;
  plan.pass_length = std::min(plan.run_length, kMaxPassFloats);
  plan.pass_runs = std::clamp<int64_t>(kMaxPassFloats / plan.run_length, 1,
                                       std::min(plan.runs, kMaxPassRuns));

  plan.panel_floats = static_cast<size_t>(conv.reduction() * tile.nr);
  plan.window_floats = static_cast<size_t>(plan.pass_runs * plan.pass_length * tile.mr);
  return plan;
}

}  // namespace resfuse
