// Winograd's transforms of both sides, compiled for each pair of them once, as functions that the
// algorithms call: convolutions (winograd.h) and weight gradients (grad/winograd_weights.h) are
// compiled for all alike.

#pragma once

#include "conv/conv.h"
#include "conv/winograd_strided.h"

namespace resfuse {
namespace {

// What a tile or a window has along its height and its width. Arrays of it are flat, rows side by
// side; so a line along the height and one along the width are transformed by the same functions.
struct Area {
  int64_t h, w;

  int64_t count() const { return h * w; }
};

// Transforms channels [first, first + channels) of `in`, pixels or taps, to points `stride` floats
// apart.
using ToPoints = void (*)(const float* const* in, int64_t first, int64_t channels, int64_t stride,
                          float* to);
// Transforms a vector of points, `stride` floats apart.
using FromPoints = void (*)(const float* from, int64_t stride, Vec* to);

template <auto along_h, auto along_w>
void to_points(const float* const* in, int64_t first, int64_t channels, int64_t stride, float* to) {
  constexpr int kIn = inputs_of(along_w), kOut = outputs_of(along_w);
  for (int64_t c = 0; c < channels; c += kLanes)
    transform_both<along_h, along_w>(
        [&](int i, int j) { return load(in[i * kIn + j] + first + c); },
        [&](int i, int j, Vec value) { store(to + (i * kOut + j) * stride + c, value); });
}

template <auto along_h, auto along_w>
void from_points(const float* from, int64_t stride, Vec* to) {
  constexpr int kIn = inputs_of(along_w), kOut = outputs_of(along_w);
  transform_both<along_h, along_w>(
      [&](int i, int j) { return load(from + (i * kIn + j) * stride); },
      [&](int i, int j, Vec value) { to[i * kOut + j] = value; });
}

inline Area turned(const Area& area) { return {area.w, area.h}; }

constexpr int64_t kMostOutputs = 5 * 5, kMostInputs = 9 * 9, kMostTaps = 3 * 3;

// Calls `make` with that of a side's algorithms, of stride 1, which has so many outputs.
template <typename Make>
auto choose_unstrided(const Side& side, int64_t outputs, Make make) {
  if (side.kernel == 2) return outputs == 4 ? make(Pair4{}) : make(Pair2{});
  return outputs == 4 ? make(F4{}) : outputs == 3 ? make(F3{}) : make(F2{});
}

// A convolution's: V = B^T d B, U = G g G^T, y = A^T M A.
struct Transforms {
  Area outputs, inputs;      // of a tile; its points are as many as its inputs
  Area taps, kernel_points;  // of a window; with stride 2 its last point serves for all odd inputs
  ToPoints input, kernel;
  FromPoints output;

  template <typename H, typename W>
  static constexpr Transforms along() {
    static_assert(H::kOutput * W::kOutput <= kMostOutputs && H::kInput * W::kInput <= kMostInputs);
    return {{H::kOutput, W::kOutput},
            {H::kInput, W::kInput},
            {inputs_of(H::kernel), inputs_of(W::kernel)},
            {outputs_of(H::kernel), outputs_of(W::kernel)},
            to_points<H::input, W::input>,
            to_points<H::kernel, W::kernel>,
            from_points<H::output, W::output>};
  }

  // Calls `make` with that of a side's algorithms which has so many outputs.
  template <typename Make>
  static auto choose(const Side& side, int64_t outputs, Make make) {
    if (side.stride == 2) return outputs == 4 ? make(Strided<Pair4>{}) : make(Strided<Pair2>{});
    return outputs == 5 ? make(F5{}) : choose_unstrided(side, outputs, make);
  }

  void turn() {
    outputs = turned(outputs), inputs = turned(inputs);
    taps = turned(taps), kernel_points = turned(kernel_points);
  }
};

// A weight gradient's: V = B^T d B, Z = A e A^T, d_kernel = G^T P G.
struct GradientTransforms {
  Area outputs, inputs, taps;
  ToPoints input, gradient;
  FromPoints kernel;

  template <typename H, typename W>
  static constexpr GradientTransforms along() {
    return {{H::kOutput, W::kOutput},
            {H::kInput, W::kInput},
            {inputs_of(H::kernel), inputs_of(W::kernel)},
            to_points<H::input, W::input>,
            to_points<H::gradient, W::gradient>,
            from_points<H::kernel_gradient, W::kernel_gradient>};
  }

  template <typename Make>
  static auto choose(const Side& side, int64_t outputs, Make make) {
    return choose_unstrided(side, outputs, make);
  }

  void turn() { outputs = turned(outputs), inputs = turned(inputs), taps = turned(taps); }
};

// Those of a window: alike along both sides, or of a line along one of them.
template <typename Of>
inline Of transforms_of(const Conv& conv, const Tiling& tiling) {
  const auto line = [](auto side) { return Of::template along<F1, decltype(side)>(); };
  const auto both = [](auto side) { return Of::template along<decltype(side), decltype(side)>(); };
  if (conv.h.kernel == 1) return Of::choose(conv.w, tiling.w.outputs, line);
  if (conv.w.kernel > 1) return Of::choose(conv.h, tiling.h.outputs, both);
  Of transforms = Of::choose(conv.h, tiling.h.outputs, line);
  transforms.turn();
  return transforms;
}

}  // namespace
}  // namespace resfuse
