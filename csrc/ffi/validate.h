// From shapes and attributes, as a program states them, to a Conv or a Pool. Everything is checked,
// for a program can be exported, edited and loaded again.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conv/conv.h"
#include "conv/pack.h"
#include "pool/pool.h"

namespace resfuse {

using Shape = std::vector<int64_t>;

inline std::string to_text(const std::string& text) { return text; }
inline std::string to_text(int64_t number) { return std::to_string(number); }
std::string to_text(const Shape& shape);  // as Python writes a tuple

// Collects what is wrong with a call and keeps the first complaint, from which others may follow.
class Check {
 public:
  // Complains in the words of `complaint`, put together, unless this is `fine`; returns `fine`.
  template <typename... Parts>
  bool that(bool fine, const Parts&... complaint) {
    if (!fine && passed()) complaint_ = (to_text(complaint) + ...);
    return fine;
  }

  bool passed() const { return complaint_.empty(); }
  const std::string& complaint() const { return complaint_; }

 private:
  std::string complaint_;
};

// Of each spatial dimension; padding before and after it.
struct Geometry {
  Shape strides, padding, image_dilation, window_dilation;
  int64_t groups;
};

// Of a pooling: of each spatial dimension, padding likewise.
struct PoolGeometry {
  Shape window, strides, padding, window_dilation;
};

// Both are meaningless, but harmless, unless the check has passed.
Conv make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Check& check);
Pool make_pool(Reduction reduction, const Shape& x, const PoolGeometry& geometry, Check& check);
// The convolution of a single pixel with this kernel: packing asks nothing else of the image.
Conv make_pixel_conv(const Shape& kernel, int64_t groups, Check& check);

inline Shape output_shape(const Conv& conv) {
  return {conv.batch, conv.h.out, conv.w.out, conv.out_c};
}
// With as many dimensions as the image `x` has.
inline Shape output_shape(const Pool& pool, const Shape& x) {
  const Shape whole{pool.d.out, pool.h.out, pool.w.out};
  Shape shape{pool.batch};
  if (x.size() >= 3) shape.insert(shape.end(), whole.end() - (x.size() - 2), whole.end());
  shape.push_back(pool.channels);
  return shape;
}
inline Shape packed_shape(const Layout& layout) {
  return {layout.panels, layout.taps, layout.depth, layout.nr};
}

}  // namespace resfuse
