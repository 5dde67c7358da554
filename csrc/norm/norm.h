// Batch norm with the statistics of the batch, followed by a residual and ReLU:
//
//   forward   y = relu(scale * (c - mean) + shift + residual)      c the convolution
//
// and the backward pass, with g = d_y where y > 0 (without ReLU: g = d_y):
//
//   sums      s1 = sum g,  s2 = sum g * (c - mean)              over the pixels, for each channel
//   gradient  d_c = a * g + b * (c - mean) + d,  d_residual = g     with a, b, d for each channel
//
// What a, b and d are follows from s1 and s2 (kernel/batch_norm.py). The sums must be complete
// before the first gradient is known, so each array is read twice: no fewer passes exist.

#pragma once

#include <cstdint>

namespace resfuse {

struct Norm {
  int64_t pixels, channels;
  const float *d_y, *conv, *mean;
  const float* y;  // null without ReLU
};

struct Normalize {
  int64_t pixels, channels;
  const float *conv, *mean, *scale, *shift;
  const float* residual;  // null without
  bool relu;
};

struct NormCoefficients {
  const float *a, *b, *d;
};

}  // namespace resfuse
