// Pooling: out[b, z, y, x, c] = the largest or the sum of in[b, at(d, z, k), at(h, y, i),
// at(w, x, j), c] over the window's (k, i, j) inside the image, where side.h says which element of
// a side that is; minus infinity or 0 where there are none. NaN wins.

#pragma once

#include <cstdint>
#include <utility>

#include "base/arithmetic.h"
#include "base/side.h"

namespace resfuse {

enum class Reduction { kMax, kSum };

struct Pool {
  Reduction reduction;
  int64_t batch, channels;
  Side d, h, w;

  int64_t rows() const { return batch * d.out * h.out; }
  int64_t pixels() const { return d.in * h.in * w.in; }  // of an image
  int64_t out_pixels() const { return d.out * h.out * w.out; }
};

// What a call of pooling computes: some channels of some rows of outputs, which are numbered over
// (batch, d.out, h.out).
struct PoolPart {
  int64_t first_row, last_row, first_channel, last_channel;
};

// The gradient of sums: each pixel takes those of the windows that it is in, which lie a stride
// apart. So it is the sum of other windows, over the outputs as an image that the stride dilates.
inline Pool mirrored(const Pool& pool) {
  Pool result = pool;
  for (Side Pool::* const side : {&Pool::d, &Pool::h, &Pool::w}) {
    Side& to = result.*side;
    std::swap(to.in, to.out);
    std::swap(to.stride, to.image_dilation);
    to.pad = (to.kernel - 1) * to.window_dilation - to.pad;
  }
  return result;
}

}  // namespace resfuse
