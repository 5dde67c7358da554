// A tile of the weight gradient, and the way from its accumulators to the result.

#pragma once

#include "conv/tile.h"
#include "conv/window.h"

namespace resfuse {
namespace {

// A tile of the result: M rows, N vectors of columns.
struct WeightTile {
  const float* rows;   // the first pixel's, `stride` floats from one to the next
  const float* panel;  // kNR floats for each pixel, `panel_stride` floats apart
  int64_t stride, pixels;
  float* out;  // the result, `out_stride` floats from row to row
  int64_t out_stride, columns;
  bool first;  // store, do not add
  int64_t panel_stride = kNR;
  Ahead ahead = ahead_of(kZeros, 0);  // of the next panel, kNR floats for each pixel
};

// Adds sums in memory, (rows, vectors), to the result. One function for all tiles.
__attribute__((noinline)) inline void add_in_memory(const WeightTile& tile, const float* sums,
                                                    int rows, int vectors) {
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < vectors; ++n, sums += kLanes) {
      float* const to = tile.out + m * tile.out_stride + n * kLanes;
      const int64_t count = tile.columns - n * kLanes;
      store_some(to, tile.first ? load(sums) : load(sums) + load_some(to, count), count);
    }
}

template <int M, int N>
inline void add_to_result(const WeightTile& tile, const Vec (&acc)[M][N]) {
  alignas(64) float sums[M * N * kLanes];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(sums + (m * N + n) * kLanes, acc[m][n]);
  add_in_memory(tile, sums, M, N);
}

}  // namespace
}  // namespace resfuse
