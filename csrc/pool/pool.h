// Max pooling: out[b, y, x, c] = the largest of
//   in[b, y * stride_h - pad_top + i, x * stride_w - pad_left + j, c]
// over the window's (i, j) inside the image; minus infinity where there are none. NaN wins.

#pragma once

#include <cstdint>

namespace resfuse {

struct Pool {
  int64_t batch, in_h, in_w, channels;
  int64_t window_h, window_w;
  int64_t out_h, out_w;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left;

  int64_t rows() const { return batch * out_h; }
};

}  // namespace resfuse
