#include "ffi/validate.h"

#include <algorithm>
#include <array>
#include <limits>

namespace resfuse {
namespace {

// Padding, kernels and groups beyond this would overflow the arithmetic on pixels.
constexpr int64_t kMaxExtent = int64_t{1} << 31;
// Arrays of more floats would overflow the arithmetic on floats, which multiplies their number by a
// tile's rows or columns at most. No machine has such memory, but shapes come without it, too.
constexpr double kMaxFloats = static_cast<double>(int64_t{1} << 48);
// Padding is indexed as well, but no array stands behind it.
constexpr double kMaxIndex = static_cast<double>(int64_t{1} << 60);
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

bool all_within(const Shape& values, int64_t least, int64_t most) {
  return std::all_of(values.begin(), values.end(),
                     [&](int64_t value) { return value >= least && value <= most; });
}

bool has_zero(const Shape& shape, size_t from) {
  return std::find(shape.begin() + static_cast<int64_t>(from), shape.end(), 0) != shape.end();
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

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t window, int64_t stride) {
  const int64_t room = size + before + after - window;
  return room < 0 ? 0 : room / stride + 1;
}

// A stride beyond the padded image leaves one output at most, and so does that image's size.
int64_t effective_stride(int64_t size, int64_t before, int64_t after, int64_t stride) {
  return std::min(stride, size + before + after);
}

void check_groups(int64_t groups, Check& check) {
  check.that(all_within({groups}, 1, kMaxExtent), "groups must be in [1, 2^31], got ", groups);
}

void check_geometry(const Geometry& geometry, Check& check) {
  const auto& [strides, padding, image_dilation, window_dilation, groups] = geometry;
  const Shape none{1, 1};
  check.that(image_dilation == none, "image_dilation must be two ones, got ", image_dilation);
  check.that(window_dilation == none, "window_dilation must be two ones, got ", window_dilation);
  check.that(strides.size() == 2, "strides must be two integers, got ", strides);
  check.that(padding.size() == 4, "padding must be four integers, got ", padding);
  check.that(all_within(strides, 1, kNoLimit), "strides must be at least 1, got ", strides);
  check.that(all_within(padding, 0, kMaxExtent), "padding must be in [0, 2^31], got ", padding);
  check_groups(groups, check);
}

// The shape of packed weights' kernel is an attribute, behind which there is no buffer.
void check_kernel(const Shape& kernel, Check& check) {
  check.that(kernel.size() == 4, "kernel must have rank 4, got shape ", kernel);
  check.that(!has_zero(kernel, 0), "kernel ", kernel, " is empty");
  check.that(all_within(kernel, 1, kMaxExtent), "kernel sizes must be in [1, 2^31], got ", kernel);
  check_floats("kernel", kernel, check);
}

// A batch may be of no images, but not of empty ones.
void check_image(const Shape& x, Check& check) {
  check.that(x.size() == 4, "x must have rank 4, got shape ", x);
  check.that(all_within(x, 0, kNoLimit), "x must have sizes of at least 0, got shape ", x);
  check.that(x.empty() || !has_zero(x, 1), "x ", x, " is empty");
  check_floats("x", x, check);
}

void check_padded(const Shape& x, const Shape& pads, Check& check) {
  const int64_t height = x[1] + pads[0] + pads[1], width = x[2] + pads[2] + pads[3];
  check.that(std::max(floats({height, x[2], x[3]}), floats({width, x[3]})) <= kMaxIndex, "x ", x,
             " with padding ", pads, " has rows or columns of more than 2^60 numbers");
}

void check_pooled(const Shape& x, const PoolGeometry& geometry, Check& check) {
  const auto& [window, strides, padding, dilation] = geometry;
  check.that(x.size() >= 3 && x.size() <= 5, "x must have rank 3 to 5, got shape ", x);
  check.that(all_within(x, 0, kNoLimit), "x must have sizes of at least 0, got shape ", x);
  check.that(x.empty() || !has_zero(x, 1), "x ", x, " is empty");
  check_floats("x", x, check);
  const auto rank = static_cast<int64_t>(x.size());
  const auto expect = [&](const char* name, const Shape& values, int64_t count) {
    check.that(static_cast<int64_t>(values.size()) == count, name, " must be ", count,
               " integers for x of rank ", rank, ", got ", values);
  };
  expect("window", window, rank - 2);
  expect("strides", strides, rank - 2);
  expect("padding", padding, 2 * (rank - 2));
  expect("window_dilation", dilation, rank - 2);
  check.that(all_within(window, 1, kMaxExtent), "window must be in [1, 2^31], got ", window);
  check.that(all_within(strides, 1, kNoLimit), "strides must be at least 1, got ", strides);
  check.that(all_within(padding, -kMaxExtent, kMaxExtent), "padding must be in [-2^31, 2^31], got ",
             padding);
  check.that(all_within(dilation, 1, kMaxExtent), "window_dilation must be in [1, 2^31], got ",
             dilation);
}

Side pool_side(int64_t in, const PoolGeometry& geometry, size_t index) {
  const int64_t before = geometry.padding[2 * index], after = geometry.padding[2 * index + 1];
  Side side;
  side.in = in, side.pad = before;
  side.kernel = geometry.window[index], side.window_dilation = geometry.window_dilation[index];
  side.stride = std::max<int64_t>(1, effective_stride(in, before, after, geometry.strides[index]));
  const int64_t extent = (side.kernel - 1) * side.window_dilation + 1;  // below 2^62
  side.out = output_size(in, before, after, extent, side.stride);
  return side;
}

}  // namespace

std::string to_text(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (shape.size() == 1 ? ",)" : ")");
}

Conv make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Check& check) {
  check_geometry(geometry, check);
  check_image(x, check);
  check_kernel(kernel, check);
  if (!check.passed()) return {};
  const Shape &strides = geometry.strides, &pads = geometry.padding;
  const int64_t groups = geometry.groups;
  check_padded(x, pads, check);
  check.that(x[3] % groups == 0 && kernel[2] == x[3] / groups && kernel[3] % groups == 0, "kernel ",
             kernel, " and groups=", groups, " do not fit x ", x);
  Conv conv{};
  conv.batch = x[0], conv.h.in = x[1], conv.w.in = x[2], conv.in_c = x[3];
  conv.h.kernel = kernel[0], conv.w.kernel = kernel[1], conv.out_c = kernel[3];
  conv.h.stride = effective_stride(x[1], pads[0], pads[1], strides[0]);
  conv.w.stride = effective_stride(x[2], pads[2], pads[3], strides[1]);
  conv.h.pad = pads[0], conv.w.pad = pads[2];
  conv.h.out = output_size(x[1], pads[0], pads[1], kernel[0], conv.h.stride);
  conv.w.out = output_size(x[2], pads[2], pads[3], kernel[1], conv.w.stride);
  conv.groups = groups;
  check_floats("the output", output_shape(conv), check);
  return conv;
}

Conv make_pixel_conv(const Shape& kernel, int64_t groups, Check& check) {
  check_kernel(kernel, check);
  check_groups(groups, check);
  if (!check.passed()) return {};
  const Shape pads{kernel[0], 0, kernel[1], 0};
  return make_conv({1, 1, 1, kernel[2] * groups}, kernel, {{1, 1}, pads, {1, 1}, {1, 1}, groups},
                   check);
}

Pool make_pool(Reduction reduction, const Shape& x, const PoolGeometry& geometry, Check& check) {
  check_pooled(x, geometry, check);
  if (!check.passed()) return {};
  Pool pool{reduction, x.front(), x.back(), {}, {}, {}};
  const std::array<Side*, 3> sides{&pool.d, &pool.h, &pool.w};
  const size_t dimensions = x.size() - 2;
  for (size_t i = 0; i < dimensions; ++i)
    *sides[3 - dimensions + i] = pool_side(x[i + 1], geometry, i);
  check_floats("the output", output_shape(pool, x), check);
  return pool;
}

}  // namespace resfuse
