#include "pack.h"

#include <algorithm>
#include <cstring>

namespace resfuse {

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

}  // namespace resfuse
