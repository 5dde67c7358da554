// The contract: what a convolution is, what its epilogue is, and what every kernel computes.
//
//   acc[b, y, x, o] = sum over (i, j, c) of
//       in[b, y * stride_h - pad_top + i, x * stride_w - pad_left + j, group(o) * in_c/groups + c]
//       * kernel[i, j, c, o],       where pixels outside the image count as zero,
//   out = relu(scale[o] * acc + shift[o] + residual[b, y, x, o]).
//
// Arrays are dense float32: images NHWC, kernels HWIO. The sum runs in the order (i, j, c), one
// accumulator an output and pass (plan.h), so the bits depend on neither the tiling nor the number
// of threads.

#pragma once

#include <cstdint>

namespace resfuse {

struct Conv {
  int64_t batch, in_h, in_w, in_c;
  int64_t kernel_h, kernel_w;
  int64_t out_h, out_w, out_c;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left;  // what hangs over below and right follows from out_h and out_w
  int64_t groups;

  int64_t pixels() const { return batch * out_h * out_w; }
  int64_t group_in() const { return in_c / groups; }
  int64_t group_out() const { return out_c / groups; }
  int64_t reduction() const { return kernel_h * kernel_w * group_in(); }
};

struct Epilogue {
  const float* scale;     // (out_c,)
  const float* shift;     // (out_c,)
  const float* residual;  // the shape of the output, or null
  bool relu;              // NaN stays NaN, as in max(NaN, 0)
};

// Where outputs go that do not lie side by side, in floats: pixel (b, y, x) is at
// first + b * image + y * row + x * pixel.
struct Scatter {
  int64_t first, image, row, pixel;
};

struct Taps;  // pack.h

// What one call reads and writes. Training asks for sums instead of an epilogue: out is then acc,
// and sums holds, for each block of pixels (see plan.h), three rows of out_c doubles: Moments
// (norm/statistics.h).
struct Operands {
  const float* in;
  const float* kernel;  // packed as in pack.h, or HWIO: Plan::packing says which
  float* out;
  const Epilogue* epilogue = nullptr;  // in inference
  double* sums = nullptr;              // (blocks, 3, out_c), in training
  const Scatter* scatter = nullptr;    // where outputs are not dense
  const Taps* transposed = nullptr;    // the kernel's, for an input gradient
};

}  // namespace resfuse
