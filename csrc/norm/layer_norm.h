// Layer norm: each pixel by the mean and the variance of its own channels,
//
//   y = (x - mean) / sqrt(var + epsilon) * scale + shift      var = the mean of (x - mean)^2
//
// Without `centred` the mean is 0 instead: RMS norm. The deviations from the mean are squared
// themselves: E[x^2] - mean^2 would lose what the mean has more digits than they have.

#pragma once

#include <cstdint>

namespace resfuse {

struct LayerNorm {
  int64_t pixels, channels;
  const float *in, *scale, *shift;
  float epsilon;
  bool centred;
};

}  // namespace resfuse
