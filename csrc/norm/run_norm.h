// Runs the passes of batch norm and layer norm on an ISA, on the threads that it is given.

#pragma once

#include <memory>
#include <new>

#include "base/pieces.h"
#include "isa/isa.h"

namespace resfuse {

// Calls `work(first, count)` for pieces of an image array. From its end on, where the cache still
// has what the call before wrote, it took as long.
inline void in_pixels(int64_t pixels, int64_t channels, int64_t max_threads,
                      const Schedule& schedule, const PieceWork& work) {
  const int64_t piece = std::max<int64_t>(1, kPieceFloats / channels);
  in_pieces(pixels, piece, pixels > 2 * piece, max_threads, schedule, work);
}

inline void run_normalize(const Isa& isa, const Normalize& norm, float* out, int64_t max_threads,
                          const Schedule& schedule) {
  in_pixels(norm.pixels, norm.channels, max_threads, schedule,
            [&](int64_t first, int64_t count) { isa.normalize(norm, first, count, out); });
}

inline void run_layer_norm(const Isa& isa, const LayerNorm& norm, float* out, int64_t max_threads,
                           const Schedule& schedule) {
  in_pixels(norm.pixels, norm.channels, max_threads, schedule,
            [&](int64_t first, int64_t count) { isa.layer_norm(norm, first, count, out); });
}

inline float to_float(double value) { return static_cast<float>(value); }

// Adds rows of sums to the first of them, in their order.
inline void add_rows_of_sums(double* sums, int64_t rows, int64_t length) {
  for (int64_t row = 1; row < rows; ++row)
    for (int64_t k = 0; k < length; ++k) sums[k] += sums[row * length + k];
}

// Sums are kept by block of pixels, whose number follows from the sizes alone, and added in their
// order. False when there is no memory.
inline bool run_norm_sums(const Isa& isa, const Norm& norm, float* plain, float* weighted,
                          int64_t max_threads, const Schedule& schedule) {
  constexpr int64_t kBlocks = 32, kMinPixels = 64;
  const int64_t block = std::max(kMinPixels, (norm.pixels + kBlocks - 1) / kBlocks);
  const int64_t blocks = std::max<int64_t>(1, (norm.pixels + block - 1) / block);
  const int64_t row = 2 * norm.channels;
  const std::unique_ptr<double[]> owned(
      new (std::nothrow) double[static_cast<size_t>(blocks * row)]());
  double* const sums = owned.get();
  if (!sums) return false;
  in_pieces(norm.pixels, block, norm.pixels * norm.channels > 2 * kPieceFloats, max_threads,
            schedule, [&](int64_t first, int64_t count) {
              isa.add_norm_sums(norm, first, count, sums + first / block * row);
            });
  add_rows_of_sums(sums, blocks, row);
  std::transform(sums, sums + norm.channels, plain, to_float);
  std::transform(sums + norm.channels, sums + row, weighted, to_float);
  return true;
}

inline void run_norm_gradient(const Isa& isa, const Norm& norm, const NormCoefficients& by,
                              float* d_conv, float* d_residual, int64_t max_threads,
                              const Schedule& schedule) {
  in_pixels(norm.pixels, norm.channels, max_threads, schedule, [&](int64_t first, int64_t count) {
    isa.norm_gradient(norm, by, first, count, d_conv, d_residual);
  });
}

}  // namespace resfuse
