// One spatial dimension of a convolution or a pooling.

#pragma once

#include <cstdint>

namespace resfuse {

// Output y reads, for each tap i of its window, element
//
//   y * stride - pad + i * window_dilation
//
// of the image, between whose elements lie image_dilation - 1 zeros; outside it are zeros as well
// (of a maximum, minus infinity). Padding may be negative: it crops. What hangs over at the end
// follows from `out`. A dimension that is not there has size 1, as this is to begin with.
struct Side {
  int64_t in = 1, kernel = 1, out = 1;
  int64_t stride = 1, pad = 0;
  int64_t window_dilation = 1, image_dilation = 1;

  // From the first to the last tap of a window.
  int64_t extent() const { return (kernel - 1) * window_dilation + 1; }
  // Whether output y reads element y of the image, and there are as many of both.
  bool is_identity() const { return kernel == 1 && stride == 1 && pad == 0 && out == in; }
};

}  // namespace resfuse
