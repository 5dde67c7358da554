#include "conv/pack.h"

#include <algorithm>
#include <cstring>

namespace resfuse {
namespace {

typedef float Four __attribute__((vector_size(16)));
typedef float UnalignedFour __attribute__((vector_size(16), aligned(4)));
typedef int32_t Lanes __attribute__((vector_size(16)));

Four pick(Four a, Four b, Lanes lanes) {
#if defined(__clang__)
  Four result;
  for (int k = 0; k < 4; ++k) result[k] = lanes[k] < 4 ? a[lanes[k]] : b[lanes[k] - 4];
  return result;
#else
  return __builtin_shuffle(a, b, lanes);
#endif
}

// Transposes four rows of `length`, `stride` apart, to `length` rows of four, `to_stride` apart.
void transpose(const float* from, int64_t stride, int64_t length, float* to, int64_t to_stride) {
  constexpr Lanes kLow{0, 4, 1, 5}, kHigh{2, 6, 3, 7}, kFirst{0, 1, 4, 5}, kLast{2, 3, 6, 7};
  int64_t d = 0;
  for (; d + 4 <= length; d += 4) {
    Four rows[4];
    for (int k = 0; k < 4; ++k)
      rows[k] = *reinterpret_cast<const UnalignedFour*>(from + k * stride + d);
    const Four low01 = pick(rows[0], rows[1], kLow), high01 = pick(rows[0], rows[1], kHigh);
    const Four low23 = pick(rows[2], rows[3], kLow), high23 = pick(rows[2], rows[3], kHigh);
    const Four columns[4] = {pick(low01, low23, kFirst), pick(low01, low23, kLast),
                             pick(high01, high23, kFirst), pick(high01, high23, kLast)};
    for (int k = 0; k < 4; ++k)
      *reinterpret_cast<UnalignedFour*>(to + (d + k) * to_stride) = columns[k];
  }
  for (; d < length; ++d)
    for (int k = 0; k < 4; ++k) to[d * to_stride + k] = from[k * stride + d];
}

// Groups narrower than 16 lanes have 8 channels at most, and a panel 2 x 16.
constexpr int64_t kMaxRotatedFloats = 8 * 32;

// Rotates taps that are packed as (depth, NR), where depth is an input channel and a lane an output
// channel of the same group.
void rotate_groups(const Layout& layout, float* to, const float* end) {
  const int64_t last = layout.depth - 1;  // a power of two less one
  float tap[kMaxRotatedFloats];
  while (to < end) {
    std::copy_n(to, layout.depth * layout.nr, tap);
    for (int64_t r = 0; r < layout.depth; ++r)
      for (int64_t lane = 0; lane < layout.nr; ++lane) {
        const int64_t in = lane & last, out = lane - in + ((in + r) & last);
        *to++ = tap[in * layout.nr + out];
      }
  }
}

// Packs one tap of a kernel whose rows are this convolution's input channels.
void pack_tap(const Conv& conv, const Layout& layout, const Panel& panel, const float* from,
              float* to) {
  const auto columns = static_cast<size_t>(panel.columns);
  from += panel.channel;
  for (int64_t d = 0; d < layout.depth; ++d, from += conv.out_c, to += layout.nr) {
    std::memcpy(to, from, columns * sizeof(float));
    std::fill(to + columns, to + layout.nr, 0.0f);
  }
}

// Packs one tap of a kernel whose rows are this convolution's outputs.
void pack_transposed(const Conv& conv, const Layout& layout, const Panel& panel, const float* from,
                     float* to) {
  if (panel.columns < layout.nr) std::fill_n(to, layout.tap_floats(), 0.0f);
  const auto row_of = [&](int64_t column) {
    const int64_t channel = panel.channel + column, group = channel / conv.group_out();
    return from + channel % conv.group_out() * conv.in_c + group * layout.depth;
  };
  int64_t column = 0;
  // Four columns are a stride apart where none of them ends a group.
  for (; column + 4 <= panel.columns && conv.groups == 1; column += 4)
    transpose(row_of(column), conv.in_c, layout.depth, to + column, layout.nr);
  for (; column < panel.columns; ++column)
    for (int64_t d = 0; d < layout.depth; ++d) to[d * layout.nr + column] = row_of(column)[d];
}

}  // namespace

int64_t Layout::tap_floats() const { return depth * nr; }
int64_t Layout::panel_floats() const { return taps * tap_floats(); }
int64_t Layout::panel_stride() const { return all_taps * tap_floats(); }

int64_t Taps::at(int64_t k, int64_t i, int64_t j) const {
  const auto of = [](const SideTaps& side, int64_t tap) { return side.first + side.step * tap; };
  const int64_t tap = (of(d, k) * h.whole + of(h, i)) * w.whole + of(w, j);
  // Reversing their order flips all sides.
  return mirrored ? d.whole * h.whole * w.whole - 1 - tap : tap;
}

size_t Layout::bytes() const {
  return static_cast<size_t>(panels * panel_stride()) * sizeof(float);
}

Layout make_layout(const Conv& conv, int64_t nr) {
  Layout layout{};
  const int64_t group_out = conv.group_out(), lanes = nr / 2;
  layout.grouped = conv.groups > 1 && conv.group_in() == group_out && group_out <= lanes &&
                   lanes % group_out == 0;
  layout.rotated = layout.grouped && group_out > 1 && group_out < lanes;
  layout.panels_per_group = ((layout.grouped ? conv.out_c : group_out) + nr - 1) / nr;
  layout.panels = layout.panels_per_group * (layout.grouped ? 1 : conv.groups);
  layout.taps = layout.all_taps = conv.taps();
  layout.plane_taps = conv.h.kernel * conv.w.kernel;
  layout.row_taps = conv.w.kernel;
  layout.depth = conv.group_in();
  layout.nr = nr;
  return layout;
}

Panel panel_at(const Conv& conv, const Layout& layout, int64_t index) {
  const int64_t width = layout.grouped ? conv.out_c : conv.group_out();
  const int64_t group = index / layout.panels_per_group;
  const int64_t offset = index % layout.panels_per_group * layout.nr;
  return {group, group * width + offset, std::min(layout.nr, width - offset)};
}

void pack_panel(const Conv& conv, const Layout& layout, const Taps& taps, const float* kernel,
                int64_t index, float* to) {
  const Panel panel = panel_at(conv, layout, index);
  // A single row is the same as its transpose.
  const auto pack = taps.mirrored && conv.in_c > 1 ? pack_transposed : pack_tap;
  const int64_t kernel_tap = layout.depth * conv.out_c;
  for_each_tap(taps, [&](int64_t tap, int64_t of_kernel) {
    pack(conv, layout, panel, kernel + of_kernel * kernel_tap, to + tap * layout.tap_floats());
  });
  if (layout.rotated) rotate_groups(layout, to, to + taps.count() * layout.tap_floats());
}

}  // namespace resfuse
