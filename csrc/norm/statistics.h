// Mean and biased variance of each channel, from those of its blocks of pixels.

#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace resfuse {

// The number, the sum and the sum of squared deviations from the mean of some numbers.
struct Moments {
  double count, sum, m2;

  // Adds others (Chan, Golub & LeVeque 1983, eq. 2.1). Sums rather than means, for those of whole
  // numbers are exact.
  void add(const Moments& other) {
    if (count > 0.0) {
      const double d = other.sum / other.count - sum / count;
      m2 += d * d * (count * other.count / (count + other.count));
    }
    count += other.count;
    sum += other.sum;
    m2 += other.m2;
  }
};

// `moments` are (blocks, 3, columns), where column o has numbers of channel o mod `channels`; they
// are added in their order. Without any, mean and variance are NaN.
inline void combine_statistics(const double* moments, int64_t blocks, int64_t columns,
                               int64_t channels, float* mean, float* var) {
  std::vector<Moments> all(static_cast<size_t>(channels));
  for (int64_t block = 0; block < blocks; ++block, moments += 3 * columns)
    for (int64_t o = 0; o < columns; ++o)
      all[static_cast<size_t>(o % channels)].add(
          {moments[o], moments[columns + o], moments[2 * columns + o]});
  for (const Moments& channel : all) {
    const bool any = channel.count > 0.0;
    *mean++ = any ? static_cast<float>(channel.sum / channel.count)
                  : std::numeric_limits<float>::quiet_NaN();
    // Roundings may leave a little less than nothing.
    *var++ = static_cast<float>(channel.m2 < 0.0 ? 0.0 : channel.m2 / channel.count);
  }
}

}  // namespace resfuse
