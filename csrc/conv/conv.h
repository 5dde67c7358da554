// The contract: what a convolution is, what its epilogue is, and what every kernel computes.
//
//   acc[b, z, y, x, o] = sum over (k, i, j, c) of
//       in[b, at(d, z, k), at(h, y, i), at(w, x, j), group(o) * in_c/groups + c]
//       * kernel[k, i, j, c, o],
//   out = E(scale[o] * acc + shift[o], operands),
//
// where E goes element by element (program.h) and side.h says at which element of a side an output
// meets a tap; pixels outside the image count as zero. Arrays are dense float32: images NDHWC,
// kernels DHWIO. The sum runs in the order (k, i, j, c), one accumulator an output and pass
// (plan.h), so the bits depend on neither the tiling nor the number of threads.

#pragma once

#include <cstdint>

#include "base/bounds.h"
#include "base/side.h"
#include "conv/program.h"

namespace resfuse {

struct Conv {
  int64_t batch, in_c, out_c, groups;
  Side d, h, w;  // depth, height and width

  int64_t pixels() const { return batch * d.out * h.out * w.out; }
  int64_t taps() const { return d.kernel * h.kernel * w.kernel; }
  int64_t group_in() const { return in_c / groups; }
  int64_t group_out() const { return out_c / groups; }
  int64_t reduction() const { return taps() * group_in(); }
  int64_t in_floats() const { return batch * d.in * h.in * w.in * in_c; }
  // Whether each output is that of a single pixel, of the one in its place.
  bool is_pointwise() const {
    return groups == 1 && d.is_identity() && h.is_identity() && w.is_identity();
  }
  // The runs that a row of the window is: one, or with groups or a dilation its pixels.
  int64_t row_runs() const {
    return groups == 1 && (w.window_dilation == 1 || w.kernel == 1) ? 1 : w.kernel;
  }
};

// What follows the accumulator: scale * acc + shift + residual within bounds, of which ReLU has
// one, or a program of it.
struct Epilogue {
  const float* scale;                       // (out_c,)
  const float* shift;                       // (out_c,)
  const float* residual;                    // the shape of the output, or null
  Bounds bounds;                            // NaN stays NaN, as in max(NaN, 0)
  const Program* program;                   // or null; neither residual nor bounds come with one
  const float* operand[kMaxOperands] = {};  // of the program
  float* output[kMaxOutputs] = {};          // and its results, of which the first is Operands::out
};

// Images that lie side by side along the channels: each has some of them, and all pixels.
struct Part {
  const float* data;
  int64_t channels;
};

// As resfuse/kernel/prologue.py has them.
constexpr int kMaxParts = 26;
enum class Before { kCopy, kScale, kAffine, kAffineRelu };  // as far as scale, shift or ReLU

// What comes before a convolution, in front of wider windows than single pixels the parts alone:
//   in[pixel, c] = relu(scale[c] * parts[pixel, c] + shift[c]),
// where scale may have a row for each image.
struct Prologue {
  Before before;
  int parts;
  Part part[kMaxParts];
  const float *scale, *shift;  // (in_c,), or null
  int64_t image_scale;         // floats from an image's scale to that of the next, or 0
};

// Where outputs go, in floats: pixel (b, z, y, x) is at
// first + b * image + z * plane + y * row + x * pixel. `dense`: they lie side by side.
struct Scatter {
  bool dense;
  int64_t first, image, plane, row, pixel;
};

// What one call reads and writes. Training asks for sums instead of an epilogue: out is then acc,
// and sums holds, for each block of pixels (see plan.h), three rows of out_c doubles: Moments
// (norm/statistics.h).
struct Operands {
  const float* in;      // means nothing with a prologue
  const float* kernel;  // packed as in pack.h, or HWIO: Plan::packing says which
  float* out;
  const Epilogue* epilogue = nullptr;  // in inference
  double* sums = nullptr;              // (blocks, 3, out_c), in training
  const Prologue* prologue = nullptr;  // if Request::images says so
  float* row_sums = nullptr;  // (batch, h.out, out_c): of the pixels of each row, if wanted
};

}  // namespace resfuse
