#include "pack.h"

#include <algorithm>
#include <cstring>

namespace resfuse {
namespace {

constexpr int64_t kLine = 16;  // floats of a cache line

}  // namespace

int64_t Layout::panel_floats() const { return taps * depth * nr; }

Layout make_layout(const Conv& conv, int64_t nr) {
  Layout layout{};
  const int64_t group_out = conv.group_out(), lanes = nr / 2;
  layout.lanes = conv.groups > 1 && conv.group_in() == group_out && group_out <= lanes &&
                 lanes % group_out == 0;
  layout.panels_per_group = ((layout.lanes ? conv.out_c : group_out) + nr - 1) / nr;
  layout.panels = layout.panels_per_group * (layout.lanes ? 1 : conv.groups);
  layout.taps = conv.kernel_h * conv.kernel_w;
  layout.depth = conv.group_in();
  layout.nr = nr;
  return layout;
}

Panel panel_at(const Conv& conv, const Layout& layout, int64_t index) {
  const int64_t width = layout.lanes ? conv.out_c : conv.group_out();
  const int64_t group = index / layout.panels_per_group;
  const int64_t offset = index % layout.panels_per_group * layout.nr;
  return {group, group * width + offset, std::min(layout.nr, width - offset)};
}

void pack_panel(const Conv& conv, const Layout& layout, const float* kernel, int64_t index,
                float* to) {
  const Panel panel = panel_at(conv, layout, index);
  const auto columns = static_cast<size_t>(panel.columns);
  for (int64_t k = 0; k < layout.taps * layout.depth; ++k, to += layout.nr) {
    std::memcpy(to, kernel + k * conv.out_c + panel.channel, columns * sizeof(float));
    std::fill(to + columns, to + layout.nr, 0.0f);
  }
}

void pack_panel_transposed(const Conv& conv, const Layout& layout, const Taps& taps,
                           const float* kernel, int64_t index, float* to) {
  const Panel panel = panel_at(conv, layout, index);
  const int64_t tap_floats = conv.group_out() * conv.in_c;
  std::fill(to, to + layout.panel_floats(), 0.0f);
  for (int64_t i = 0; i < conv.kernel_h; ++i)
    for (int64_t j = 0; j < conv.kernel_w; ++j, to += layout.depth * layout.nr) {
      const int64_t tap =
          (taps.last_h - taps.step_h * i) * taps.kernel_w + taps.last_w - taps.step_w * j;
      // A cache line of each column at a time: both sides of the transpose stay in L1.
      for (int64_t first = 0; first < layout.depth; first += kLine)
        for (int64_t column = 0; column < panel.columns; ++column) {
          const int64_t channel = panel.channel + column, group = channel / conv.group_out();
          const float* from = kernel + tap * tap_floats + channel % conv.group_out() * conv.in_c +
                              group * layout.depth;
          const int64_t last = std::min(first + kLine, layout.depth);
          for (int64_t d = first; d < last; ++d) to[d * layout.nr + column] = from[d];
        }
    }
}

}  // namespace resfuse
