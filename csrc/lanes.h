// Runs of the register tile for narrow groups: G input and G output channels each, G a divisor of
// the lanes (depthwise: G = 1). A vector holds whole groups, so the inputs that its outputs need
// are in the vector of the same channels, and shuffles bring them into place. A run is a tap:
//
//   acc[m][lane] += in[m][lane / G * G + c] * panel[c][lane]    for c < G

#pragma once

#include "tile.h"

namespace resfuse {
namespace {

template <int G>
struct Grouped {
  // Lane by lane, the first channel of its group.
  static Lanes first_lanes() {
    Lanes lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane / G * G;
    return lanes;
  }

  static Vec inputs(const float* in, int c, Lanes lanes) {
    return G == 1 ? load(in) : G == kLanes ? splat(in[c]) : shuffle(load(in), lanes);
  }

  template <int M, int N>
  static void accumulate(const float* const* in, int64_t, const float*& panel, Vec (&acc)[M][N]) {
    Lanes lanes = first_lanes();
    // Unrolled, all shuffles come first and spill.
#pragma GCC unroll 1
    for (int c = 0; c < G; ++c, panel += kNR, lanes += 1) {
      Vec w[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += inputs(in[m] + n * kLanes, c, lanes) * w[n];
    }
  }
};

// G = 1, 2, 4, ... up to the lanes.
template <int G = 1>
inline TileFunction grouped_tile_function(int64_t group, int64_t m, int64_t vectors) {
  if (group == G || G == kLanes) return tile_function<Grouped<G>>(m, vectors);
  return grouped_tile_function<G == kLanes ? G : 2 * G>(group, m, vectors);
}

}  // namespace
}  // namespace resfuse
