// Group norm: each image's groups of channels by their own mean and variance over all pixels,
//
//   y = ending((x - mean) / sqrt(var + epsilon) * scale + shift)
//
// in two passes: sums for each channel, then y as batch norm's. The sums are of deviations from the
// image's first pixel, k: with D = sum (x - k) and Q = sum (x - k)^2 over a channel's n pixels,
//
//   mean = (1 / (n C)) sum_c (n k + D)         sum (x - mean)^2 = sum_c (Q + 2 d D + n d^2),
//   d = k - mean                               C channels c of the group
//
// The order of all sums follows from the sizes alone.

#pragma once

#include <cmath>
#include <memory>
#include <new>

#include "norm/run_norm.h"

namespace resfuse {

struct GroupNorm {
  int64_t batch, pixels, channels, groups;
  const float *in, *scale, *shift;
  float epsilon;
  const Gate* gate;  // or null
  bool silu;

  const float* image(int64_t index) const { return in + index * pixels * channels; }
};

// What batch norm takes for each channel of an image.
struct ImageCoefficients {
  float *mean, *scale;
};

// From the sums of one image, (2, channels).
inline void find_coefficients(const GroupNorm& norm, int64_t image, const double* sums,
                              ImageCoefficients to) {
  const float* const k = norm.image(image);
  const double* const squares = sums + norm.channels;
  const int64_t group = norm.channels / norm.groups;
  const auto n = static_cast<double>(norm.pixels), all = n * static_cast<double>(group);
  for (int64_t first = 0; first < norm.channels; first += group) {
    double mean = 0.0, m2 = 0.0;
    for (int64_t c = first; c < first + group; ++c) mean += n * k[c] + sums[c];
    mean /= all;
    for (int64_t c = first; c < first + group; ++c) {
      const double d = k[c] - mean;
      m2 += squares[c] + d * (2.0 * sums[c] + n * d);
    }
    // Roundings may leave a little less than nothing; NaN stays.
    const double inverse = 1.0 / std::sqrt((m2 < 0.0 ? 0.0 : m2 / all) + norm.epsilon);
    for (int64_t c = first; c < first + group; ++c) {
      to.mean[c] = to_float(mean);
      to.scale[c] = to_float(inverse * norm.scale[c]);
    }
  }
}

// Some pixels in a row of each image.
struct PixelBlocks {
  int64_t pixels, size;

  int64_t count() const { return ceil_div(pixels, size); }
  int64_t first(int64_t index) const { return index % count() * size; }
  int64_t length(int64_t index) const { return std::min(size, pixels - first(index)); }
};

inline void add_up(const Isa& isa, const GroupNorm& norm, PixelBlocks blocks, double* sums,
                   bool worth_waking, int64_t max_threads, const Schedule& schedule) {
  in_pieces(norm.batch * blocks.count(), 1, worth_waking, max_threads, schedule,
            [&](int64_t index, int64_t) {
              const float* const in = norm.image(index / blocks.count());
              isa.add_deviations({norm.channels, in, in}, blocks.first(index), blocks.length(index),
                                 sums + index * 2 * norm.channels);
            });
}

inline void write_images(const Isa& isa, const GroupNorm& norm, PixelBlocks blocks,
                         const float* coefficients, float* out, bool worth_waking,
                         int64_t max_threads, const Schedule& schedule) {
  in_pieces(norm.batch * blocks.count(), 1, worth_waking, max_threads, schedule,
            [&](int64_t index, int64_t) {
              const int64_t image = index / blocks.count();
              const float* const mean = coefficients + image * 2 * norm.channels;
              const Normalize as_batch_norm{
                  norm.pixels, norm.channels, norm.image(image), mean,     mean + norm.channels,
                  norm.shift,  nullptr,       norm.gate,         norm.silu};
              isa.normalize(as_batch_norm, blocks.first(index), blocks.length(index),
                            out + image * norm.pixels * norm.channels);
            });
}

// False when there is no memory.
inline bool run_group_norm(const Isa& isa, const GroupNorm& norm, float* out, int64_t max_threads,
                           const Schedule& schedule) {
  constexpr int64_t kBlocks = 16, kMinPixels = 64;
  const PixelBlocks sums_of{norm.pixels, std::max(kMinPixels, ceil_div(norm.pixels, kBlocks))};
  const int64_t row = 2 * norm.channels, rows = norm.batch * sums_of.count();
  const std::unique_ptr<double[]> sums(
      new (std::nothrow) double[static_cast<size_t>(rows * row)]());
  const std::unique_ptr<float[]> coefficients(
      new (std::nothrow) float[static_cast<size_t>(norm.batch * row)]);
  if (!sums || !coefficients) return false;
  const bool worth_waking = norm.batch * norm.pixels * norm.channels > 2 * kPieceFloats;
  add_up(isa, norm, sums_of, sums.get(), worth_waking, max_threads, schedule);
  for (int64_t image = 0; image < norm.batch && norm.pixels > 0; ++image) {
    double* const total = sums.get() + image * sums_of.count() * row;
    for (int64_t block = 1; block < sums_of.count(); ++block)
      for (int64_t k = 0; k < row; ++k) total[k] += total[block * row + k];
    float* const mean = coefficients.get() + image * row;
    find_coefficients(norm, image, total, {mean, mean + norm.channels});
  }
  const PixelBlocks pieces{norm.pixels, std::max<int64_t>(1, kPieceFloats / norm.channels)};
  write_images(isa, norm, pieces, coefficients.get(), out, worth_waking, max_threads, schedule);
  return true;
}

}  // namespace resfuse
