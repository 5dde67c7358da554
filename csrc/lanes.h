// A run of the register tile for narrow groups: G input and G output channels each, G a divisor of
// the lanes (depthwise: G = 1). A vector holds whole groups, so the inputs that its outputs need
// are in the vector of the same channels, and shuffles bring them into place. A run is a tap:
//
//   acc[m][lane] += in[m][lane / G * G + c] * panel[c][lane]    for c < G

#pragma once

#include "tile.h"

namespace resfuse {
namespace {

struct Grouped {
  template <int M, int N>
  static void accumulate(const float* const* in, int64_t group, const float*& panel,
                         Vec (&acc)[M][N]) {
    const auto width = static_cast<int>(group);
    Lanes lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane / width * width;
    for (int64_t c = 0; c < group; ++c, panel += kNR, lanes += 1) {
      Vec w[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] += shuffle(load(in[m] + n * kLanes), lanes) * w[n];
    }
  }
};

struct Depthwise {
  template <int M, int N>
  static void accumulate(const float* const* in, int64_t, const float*& panel, Vec (&acc)[M][N]) {
    Vec w[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) w[n] = load(panel + n * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] += load(in[m] + n * kLanes) * w[n];
    panel += kNR;
  }
};

}  // namespace
}  // namespace resfuse
