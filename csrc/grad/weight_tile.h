// A tile of the weight gradient, and the way from its accumulators to the result.

#pragma once

#include "base/simd.h"

namespace resfuse {
namespace {

// A tile of the result: M rows, N vectors of columns.
struct WeightTile {
  const float* rows;   // the first pixel's, `stride` floats from one to the next
  const float* panel;  // kNR floats for each pixel
  int64_t stride, pixels;
  float* out;  // the result, `out_stride` floats from row to row
  int64_t out_stride, columns;
  bool first;  // store, do not add
};

template <int M, int N>
inline void add_to_result(const WeightTile& tile, const Vec (&acc)[M][N]) {
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) {
      float* const to = tile.out + m * tile.out_stride + n * kLanes;
      const int64_t count = tile.columns - n * kLanes;
      store_some(to, tile.first ? acc[m][n] : acc[m][n] + load_some(to, count), count);
    }
}

}  // namespace
}  // namespace resfuse
