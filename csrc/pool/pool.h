// Max pooling: out[b, y, x, c] = the largest of in[b, at(h, y, i), at(w, x, j), c] over the
// window's (i, j) inside the image, where side.h says which element of a side that is; minus
// infinity where there are none. NaN wins.

#pragma once

#include <cstdint>

#include "base/side.h"

namespace resfuse {

struct Pool {
  int64_t batch, channels;
  Side h, w;

  int64_t rows() const { return batch * h.out; }
};

}  // namespace resfuse
