// From shapes and attributes, as a program states them, to a Conv or a Pool. Everything is checked,
// for a program can be exported, edited and loaded again.

#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "conv/conv.h"
#include "conv/pack.h"
#include "pool/pool.h"

namespace resfuse {

using Shape = std::vector<int64_t>;

// A part of a complaint; texts and shapes are elsewhere.
class Words {
 public:
  Words(const char* text) : text_(text) {}
  Words(const std::string& text) : text_(text.c_str()) {}
  Words(const Shape& shape) : shape_(&shape) {}
  Words(int64_t number) : number_(number) {}

  std::string text() const;

 private:
  const char* text_ = nullptr;
  const Shape* shape_ = nullptr;
  int64_t number_ = 0;
};

// Collects what is wrong with a call and keeps the first complaint, from which others may follow.
class Check {
 public:
  // Complains in the words of `complaint`, put together, unless this is `fine`; returns `fine`.
  template <typename... Parts>
  bool that(bool fine, const Parts&... complaint) {
    if (!fine) complain({complaint...});
    return fine;
  }

  bool passed() const { return complaint_.empty(); }
  const std::string& complaint() const { return complaint_; }

 private:
  void complain(std::initializer_list<Words> complaint);

  std::string complaint_;
};

// Of each spatial dimension; padding before and after it.
struct Geometry {
  Shape strides, padding, image_dilation, window_dilation;
  int64_t groups;
};

// Both are meaningless, but harmless, unless the check has passed.
Conv make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Check& check);
Pool make_pool(Reduction reduction, const Shape& x, const Shape& window, const Geometry& geometry,
               Check& check);
// A convolution with this kernel, whatever its strides and padding: packing asks nothing of them.
Conv make_kernel_conv(const Shape& kernel, Geometry geometry, Check& check);

// Complains about more phases than there may be.
void check_phases(const Conv& conv, Check& check);
// Of images of this rank; nothing if there are none of such a rank.
Shape output_shape(size_t rank, const Conv& conv);
Shape output_shape(size_t rank, const Pool& pool);
inline Shape packed_shape(const Layout& layout) {
  return {layout.panels, layout.taps, layout.depth, layout.nr};
}

}  // namespace resfuse
