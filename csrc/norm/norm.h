// Batch norm with the statistics of the batch, followed by a residual and a gate, such as ReLU, or
// by SiLU:
//
//   forward   y = gate(scale * (c - mean) + shift + residual)      c the convolution
//             y = z logistic(z),  z = scale * (c - mean) + shift
//
// and the backward pass, with g = gate'(y) d_y (without a gate: g = d_y). Where no residual was
// added, z is computed again, from the c that is read in any case, and y is not read: a gate is
// open for z where it is for y, and the derivative of SiLU does not follow from y at all:
//
//   g = gate'(z) d_y     or     g = l (1 + z (1 - l)) d_y,   l = logistic(z)
//
//   sums      s1 = sum g,  s2 = sum g * (c - mean)              over the pixels, for each channel
//   gradient  d_c = a * g + b * (c - mean) + d,  d_residual = g     with a, b, d for each channel
//
// What a, b and d are follows from s1 and s2 (kernel/batch_norm.py). The sums must be complete
// before the first gradient is known, so each array is read twice: no fewer passes exist.

#pragma once

#include <cstdint>

#include "base/bounds.h"

namespace resfuse {

// A function whose derivative follows from its value: 1 where it is open, between the bounds, and
// `otherwise` elsewhere. Where that is 0 the function is the nearer bound there (ReLU, ReLU6,
// clip); else the lower bound is 0 and the function `otherwise` times its argument (leaky ReLU). It
// is closed for NaN, which stays.
struct Gate {
  Bounds bounds;
  bool at_least;  // whether it is open at the lower bound
  float otherwise;
};

struct Norm {
  int64_t pixels, channels;
  const float *d_y, *conv, *mean;
  const float* y;              // behind a residual, else null
  const float *scale, *shift;  // of the forward pass, where z is computed again; else null
  const Gate* gate;            // or null
};

struct Normalize {
  int64_t pixels, channels;
  const float *conv, *mean, *scale, *shift;
  const float* residual;  // null without
  const Gate* gate;       // or null
  bool silu;
};

// Sums of `in - from`, `from` for each channel, and of their squares: near the mean of `in` neither
// loses what the mean has more digits than the deviations.
struct Deviations {
  int64_t channels;
  const float *in, *from;
};

struct NormCoefficients {
  const float *a, *b, *d;
};

}  // namespace resfuse
