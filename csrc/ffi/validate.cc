#include "ffi/validate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "conv/phases.h"

namespace resfuse {
namespace {

// Padding, kernels and groups beyond this would overflow the arithmetic on pixels.
constexpr int64_t kMaxExtent = int64_t{1} << 31;
// Arrays of more floats would overflow the arithmetic on floats, which multiplies their number by a
// tile's rows or columns at most. No machine has such memory, but shapes come without it, too.
constexpr double kMaxFloats = static_cast<double>(int64_t{1} << 48);
// Padding is indexed as well, but no array stands behind it.
constexpr double kMaxIndex = static_cast<double>(int64_t{1} << 60);
// Each phase of a convolution (conv/phases.h) has a plan.
constexpr double kMaxPhases = 1 << 14;
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

bool all_within(const Shape& values, int64_t least, int64_t most) {
  return std::all_of(values.begin(), values.end(),
                     [&](int64_t value) { return value >= least && value <= most; });
}

bool has_zero(const Shape& shape, size_t from) {
  return std::find(shape.begin() + static_cast<int64_t>(from), shape.end(), 0) != shape.end();
}

// As Python writes it.
std::string tuple(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

// The number of floats, in doubles, which cannot overflow; empty axes count as if they were not.
double floats(const Shape& shape) {
  double product = 1.0;
  for (const int64_t size : shape) product *= std::max(1.0, static_cast<double>(size));
  return product;
}

void check_floats(const char* name, const Shape& shape, Check& check) {
  check.that(floats(shape) <= kMaxFloats, name, " ", shape, " has more than 2^48 numbers");
}

void check_groups(int64_t groups, Check& check) {
  check.that(all_within({groups}, 1, kMaxExtent), "groups must be in [1, 2^31], got ", groups);
}

// One to three spatial dimensions, and each attribute with as many numbers.
void check_geometry(size_t rank, const Geometry& geometry, Check& check) {
  const auto& [strides, padding, image_dilation, window_dilation, groups] = geometry;
  const auto expect = [&](const char* name, const Shape& values, size_t length) {
    check.that(values.size() == length, name, " must have length ", static_cast<int64_t>(length),
               " for x of rank ", static_cast<int64_t>(rank), ", got ", values);
  };
  expect("strides", strides, rank - 2);
  expect("padding", padding, 2 * (rank - 2));
  expect("image_dilation", image_dilation, rank - 2);
  expect("window_dilation", window_dilation, rank - 2);
  check.that(all_within(strides, 1, kNoLimit), "strides must be at least 1, got ", strides);
  check.that(all_within(padding, -kMaxExtent, kMaxExtent), "padding must be in [-2^31, 2^31], got ",
             padding);
  check.that(all_within(image_dilation, 1, kMaxExtent), "image_dilation must be in [1, 2^31], got ",
             image_dilation);
  check.that(all_within(window_dilation, 1, kMaxExtent),
             "window_dilation must be in [1, 2^31], got ", window_dilation);
  check_groups(groups, check);
}

// The shape of packed weights' kernel is an attribute, behind which there is no buffer.
void check_kernel(const Shape& kernel, Check& check) {
  check.that(kernel.size() >= 3 && kernel.size() <= 5, "kernel must have rank 3 to 5, got shape ",
             kernel);
  check.that(!has_zero(kernel, 0), "kernel ", kernel, " is empty");
  check.that(all_within(kernel, 1, kMaxExtent), "kernel sizes must be in [1, 2^31], got ", kernel);
  check_floats("kernel", kernel, check);
}

// A batch may be of no images, but not of empty ones.
void check_image(const Shape& x, Check& check) {
  check.that(x.size() >= 3 && x.size() <= 5, "x must have rank 3 to 5, got shape ", x);
  check.that(all_within(x, 0, kNoLimit), "x must have sizes of at least 0, got shape ", x);
  check.that(x.empty() || !has_zero(x, 1), "x ", x, " is empty");
  check_floats("x", x, check);
}

// What arithmetic on indices meets at most: from any side with its padding and the zeros between
// its pixels, all that an index of it counts.
void check_padded(const Shape& x, const Geometry& geometry, Check& check) {
  const Shape& pads = geometry.padding;
  for (size_t side = 0; side + 2 < x.size(); ++side) {
    double extent = static_cast<double>(x[side + 1]);
    extent *= static_cast<double>(geometry.image_dilation[side]);
    for (const int64_t pad : {pads[2 * side], pads[2 * side + 1]})
      extent += std::abs(static_cast<double>(pad));
    const Shape inner(x.begin() + static_cast<int64_t>(side) + 2, x.end());
    check.that(extent * floats(inner) <= kMaxIndex, "x ", x, " with padding ", pads,
               " and image_dilation ", geometry.image_dilation,
               " has rows or columns of more than 2^60 numbers");
  }
}

// The side of an image of this size and a window, all of which was checked.
Side make_side(int64_t in, int64_t kernel, const Geometry& geometry, size_t index) {
  Side side;
  side.in = in, side.kernel = kernel;
  side.pad = geometry.padding[2 * index];
  side.image_dilation = geometry.image_dilation[index];
  const int64_t dilated = (in - 1) * side.image_dilation + 1;
  const int64_t padded = dilated + side.pad + geometry.padding[2 * index + 1];
  // A stride beyond the padded image leaves one output at most, and so does that image's size.
  side.stride = std::clamp<int64_t>(padded, 1, geometry.strides[index]);
  if (kernel > 1) side.window_dilation = geometry.window_dilation[index];
  const int64_t room = padded - side.extent();
  side.out = room < 0 ? 0 : room / side.stride + 1;
  return side;
}

// The sides of a Conv or a Pool, of which the last are there.
template <typename Problem>
void make_sides(const Shape& x, const Shape& window, const Geometry& geometry, Problem& problem) {
  Side* const places[] = {&problem.w, &problem.h, &problem.d};
  const size_t sides = x.size() - 2;
  for (size_t side = 0; side < sides; ++side)
    *places[sides - 1 - side] = make_side(x[side + 1], window[side], geometry, side);
}

template <typename Problem>
Shape shape_of(size_t rank, const Problem& problem, int64_t channels) {
  const Shape all{problem.batch, problem.d.out, problem.h.out, problem.w.out, channels};
  if (rank < 3 || rank > all.size()) return {};
  Shape shape{problem.batch};
  shape.insert(shape.end(), all.end() - static_cast<int64_t>(rank - 1), all.end());
  return shape;
}

}  // namespace

std::string Words::text() const {
  if (text_) return text_;
  return shape_ ? tuple(*shape_) : std::to_string(number_);
}

void Check::complain(std::initializer_list<Words> complaint) {
  if (!passed()) return;
  for (const Words& words : complaint) complaint_ += words.text();
}

Conv make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Check& check) {
  check_image(x, check);
  check_kernel(kernel, check);
  check.that(kernel.size() == x.size(), "kernel ", kernel, " and x ", x, " differ in rank");
  check_geometry(x.size(), geometry, check);
  if (!check.passed()) return {};
  check_padded(x, geometry, check);
  const size_t rank = x.size();
  const int64_t groups = geometry.groups;
  check.that(x.back() % groups == 0 && kernel[rank - 2] == x.back() / groups &&
                 kernel.back() % groups == 0,
             "kernel ", kernel, " and groups=", groups, " do not fit x ", x);
  if (!check.passed()) return {};
  Conv conv{x[0], x.back(), kernel.back(), groups, {}, {}, {}};
  make_sides(x, kernel, geometry, conv);
  check_floats("the output", {conv.batch, conv.d.out, conv.h.out, conv.w.out, conv.out_c}, check);
  check_phases(conv, check);
  return conv;
}

void check_phases(const Conv& conv, Check& check) {
  check.that(count_phases(conv) <= kMaxPhases, "the convolution has more than 2^14 phases");
}

Shape output_shape(size_t rank, const Conv& conv) { return shape_of(rank, conv, conv.out_c); }
Shape output_shape(size_t rank, const Pool& pool) { return shape_of(rank, pool, pool.channels); }

Conv make_kernel_conv(const Shape& kernel, Geometry geometry, Check& check) {
  check_kernel(kernel, check);
  check_groups(geometry.groups, check);
  if (!check.passed()) return {};
  Shape x(kernel.size(), 1);
  x.back() = kernel[kernel.size() - 2] * geometry.groups;
  geometry.strides.assign(kernel.size() - 2, 1);
  geometry.padding.assign(2 * (kernel.size() - 2), 0);
  return make_conv(x, kernel, geometry, check);
}

Pool make_pool(Reduction reduction, const Shape& x, const Shape& window, const Geometry& geometry,
               Check& check) {
  check_image(x, check);
  check.that(window.size() + 2 == x.size(), "window must have length ",
             static_cast<int64_t>(x.size()) - 2, " for x of rank ", static_cast<int64_t>(x.size()),
             ", got ", window);
  check.that(all_within(window, 1, kMaxExtent), "window must be in [1, 2^31], got ", window);
  check_geometry(x.size(), geometry, check);
  if (!check.passed()) return {};
  check_padded(x, geometry, check);
  if (!check.passed()) return {};
  Pool pool{reduction, x.front(), x.back(), {}, {}, {}};
  make_sides(x, window, geometry, pool);
  check_floats("the output", {pool.batch, pool.d.out, pool.h.out, pool.w.out, pool.channels},
               check);
  return pool;
}

}  // namespace resfuse
