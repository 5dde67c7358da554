// From shapes and attributes, as a program states them, to a Conv or a Pool: everything is checked
// here, for a program can be exported, edited and loaded again.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conv/conv.h"
#include "conv/pack.h"
#include "pool/pool.h"

namespace resfuse {

using Shape = std::vector<int64_t>;

struct Geometry {
  Shape strides;  // (height, width)
  Shape padding;  // (top, bottom, left, right)
  int64_t groups;
};

// Empty, or what is wrong.
using Problem = std::string;

std::string to_string(const Shape& shape);
Problem check_shape(const char* name, const Shape& got, const Shape& expected);
Problem make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Conv& conv);
Problem make_pool(const Shape& x, const Shape& window, const Geometry& geometry, Pool& pool);

inline Shape output_shape(const Conv& conv) {
  return {conv.batch, conv.out_h, conv.out_w, conv.out_c};
}
inline Shape packed_shape(const Layout& layout) {
  return {layout.panels, layout.taps, layout.depth, layout.nr};
}

}  // namespace resfuse
