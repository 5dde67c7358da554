// Pooling: out[b, z, y, x, c] = the largest or the sum of in[b, at(d, z, k), at(h, y, i),
// at(w, x, j), c] over the window's (k, i, j) inside the image, where side.h says which element of
// a side that is; minus infinity or 0 where there are none. NaN wins.

#pragma once

#include <cmath>
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

// Whether the only window is the image, as for a mean over all of it.
inline bool is_global(const Pool& pool) {
  const auto covers = [](const Side& side) {
    const bool dense = side.window_dilation == 1 && side.image_dilation == 1;
    return dense && side.out == 1 && side.pad == 0 && side.kernel == side.in;
  };
  return covers(pool.d) && covers(pool.h) && covers(pool.w);
}

// A global pool in two, of which the second reduces what the first leaves of each run of pixels.
// So threads have runs to share out even of a single image. With runs of sqrt(n) of n pixels both
// are equally long, which is where the error of a sum is smallest: it grows by 2 sqrt(n), not by n.
struct GlobalSteps {
  Pool runs, whole;
};

inline GlobalSteps global_steps(const Pool& pool) {
  constexpr int64_t kMinRun = 8;  // fewer pixels are not worth writing what is left of them
  const auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(pool.pixels())));
  GlobalSteps steps{pool, pool};
  steps.runs.d = steps.runs.w = steps.whole.d = steps.whole.w = Side{};
  Side &runs = steps.runs.h, &whole = steps.whole.h;
  runs = whole = Side{};
  runs.in = pool.pixels();
  runs.kernel = runs.stride = root < kMinRun ? kMinRun : root;
  runs.out = whole.in = whole.kernel = ceil_div(runs.in, runs.kernel);
  return steps;
}

}  // namespace resfuse
