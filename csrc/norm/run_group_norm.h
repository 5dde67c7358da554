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

// Calls `work(image, block, first, count)` for blocks of `size` or fewer pixels of each image.
template <typename Work>
void in_images(const GroupNorm& norm, int64_t size, int64_t max_threads, const Schedule& schedule,
               const Work& work) {
  const int64_t blocks = ceil_div(norm.pixels, size);
  const bool worth_waking = norm.batch * norm.pixels * norm.channels > 2 * kPieceFloats;
  in_pieces(norm.batch * blocks, 1, worth_waking, max_threads, schedule,
            [&](int64_t index, int64_t) {
              const int64_t block = index % blocks, first = block * size;
              work(index / blocks, block, first, std::min(size, norm.pixels - first));
            });
}

// As batch norm's, of one image.
inline Normalize as_batch_norm(const GroupNorm& norm, int64_t image, ImageCoefficients by) {
  return {norm.pixels, norm.channels, norm.image(image), by.mean,  by.scale,
          norm.shift,  nullptr,       norm.gate,         norm.silu};
}

// False when there is no memory.
inline bool run_group_norm(const Isa& isa, const GroupNorm& norm, float* out, int64_t max_threads,
                           const Schedule& schedule) {
  constexpr int64_t kBlocks = 16, kMinPixels = 64;
  const int64_t size = std::max(kMinPixels, ceil_div(norm.pixels, kBlocks));
  const int64_t blocks = ceil_div(norm.pixels, size), row = 2 * norm.channels;
  const std::unique_ptr<double[]> sums(
      new (std::nothrow) double[static_cast<size_t>(norm.batch * blocks * row)]());
  const std::unique_ptr<float[]> numbers(
      new (std::nothrow) float[static_cast<size_t>(norm.batch * row)]);
  if (!sums || !numbers) return false;
  const auto sums_of = [&](int64_t image) { return sums.get() + image * blocks * row; };
  const auto coefficients_of = [&](int64_t image) -> ImageCoefficients {
    return {numbers.get() + image * row, numbers.get() + image * row + norm.channels};
  };
  in_images(norm, size, max_threads, schedule,
            [&](int64_t image, int64_t block, int64_t first, int64_t count) {
              const float* const in = norm.image(image);
              isa.add_deviations({norm.channels, in, in}, first, count,
                                 sums_of(image) + block * row);
            });
  for (int64_t image = 0; image < norm.batch && norm.pixels > 0; ++image) {
    add_rows_of_sums(sums_of(image), blocks, row);
    find_coefficients(norm, image, sums_of(image), coefficients_of(image));
  }
  in_images(norm, std::max<int64_t>(1, kPieceFloats / norm.channels), max_threads, schedule,
            [&](int64_t image, int64_t, int64_t first, int64_t count) {
              isa.normalize(as_batch_norm(norm, image, coefficients_of(image)), first, count,
                            out + image * norm.pixels * norm.channels);
            });
  return true;
}

}  // namespace resfuse
