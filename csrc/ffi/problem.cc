#include "ffi/problem.h"

#include <algorithm>

namespace resfuse {
namespace {

// Padding and kernels beyond this would overflow the arithmetic on pixels.
constexpr int64_t kMaxExtent = int64_t{1} << 31;
// Arrays with more floats than this would overflow that on floats, which multiplies their number by
// a tile's rows or columns at most. No machine has such memory, but shapes come without it, too.
constexpr double kMaxFloats = static_cast<double>(int64_t{1} << 48);
// Padding has indices, too, but no array is behind them.
constexpr double kMaxIndex = static_cast<double>(int64_t{1} << 60);

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t window, int64_t stride) {
  const int64_t room = size + before + after - window;
  return room < 0 ? 0 : room / stride + 1;
}

// A stride beyond the padded image leaves one output at most, and so does that image's size.
int64_t effective_stride(int64_t size, int64_t before, int64_t after, int64_t stride) {
  return std::min(stride, size + before + after);
}

// In doubles, which cannot overflow; and of arrays that are empty, as if they were not.
double floats(const Shape& shape) {
  double product = 1.0;
  for (const int64_t size : shape) product *= std::max(1.0, static_cast<double>(size));
  return product;
}

Problem check_image(const Shape& x) {
  if (x.size() != 4) return "x must have rank 4, got shape " + to_string(x);
  for (const int64_t size : x)  // no buffer need stand behind a shape
    if (size < 0) return "x must have sizes of at least 0, got shape " + to_string(x);
  if (floats(x) > kMaxFloats) return "x " + to_string(x) + " has more than 2^48 numbers";
  return {};
}

Problem check_padded(const Shape& x, const Geometry& geometry) {
  const Shape& pad = geometry.padding;
  const Shape padded{x[1] + pad[0] + pad[1], x[2] + pad[2] + pad[3], x[3]};
  if (std::max(floats({padded[0], x[2], x[3]}), floats({padded[1], x[3]})) <= kMaxIndex) return {};
  return "x " + to_string(x) + " with padding " + to_string(pad) +
         " has rows or columns of more than 2^60 numbers";
}

bool is_empty(const Shape& shape, size_t from) {
  for (size_t axis = from; axis < shape.size(); ++axis)
    if (shape[axis] == 0) return true;
  return false;
}

Problem check_geometry(const Geometry& geometry) {
  if (geometry.strides.size() != 2) return "strides must be two integers";
  if (geometry.padding.size() != 4) return "padding must be four integers";
  for (const int64_t stride : geometry.strides)
    if (stride < 1) return "strides must be at least 1, got " + to_string(geometry.strides);
  for (const int64_t pad : geometry.padding)
    if (pad < 0 || pad > kMaxExtent)
      return "padding must be in [0, 2^31], got " + to_string(geometry.padding);
  if (geometry.groups < 1)
    return "groups must be at least 1, got " + std::to_string(geometry.groups);
  return {};
}

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (const int64_t size : shape) text += std::to_string(size) + ",";
  return text + ")";
}

Problem check_shape(const char* name, const Shape& got, const Shape& expected) {
  if (got == expected) return {};
  return std::string(name) + " has shape " + to_string(got) + ", expected " + to_string(expected);
}

Problem make_conv(const Shape& x, const Shape& kernel, const Geometry& geometry, Conv& conv) {
  if (Problem problem = check_geometry(geometry); !problem.empty()) return problem;
  if (Problem problem = check_image(x); !problem.empty()) return problem;
  if (kernel.size() != 4) return "kernel must have rank 4, got shape " + to_string(kernel);
  for (const int64_t size : kernel)  // no buffer stands behind the shape of a packed kernel
    if (size < 0 || size > kMaxExtent)
      return "kernel sizes must be in [1, 2^31], got " + to_string(kernel);
  if (floats(kernel) > kMaxFloats)
    return "kernel " + to_string(kernel) + " has more than 2^48 numbers";
  if (is_empty(kernel, 0) || is_empty(x, 1))
    return "x " + to_string(x) + " or kernel " + to_string(kernel) + " is empty";
  if (Problem problem = check_padded(x, geometry); !problem.empty()) return problem;
  const int64_t groups = geometry.groups;
  if (x[3] % groups != 0 || kernel[2] != x[3] / groups || kernel[3] % groups != 0)
    return "kernel " + to_string(kernel) + " and groups=" + std::to_string(groups) +
           " do not fit x " + to_string(x);
  const Shape &strides = geometry.strides, &pad = geometry.padding;
  conv.batch = x[0], conv.in_h = x[1], conv.in_w = x[2], conv.in_c = x[3];
  conv.kernel_h = kernel[0], conv.kernel_w = kernel[1], conv.out_c = kernel[3];
  conv.stride_h = effective_stride(x[1], pad[0], pad[1], strides[0]);
  conv.stride_w = effective_stride(x[2], pad[2], pad[3], strides[1]);
  conv.pad_top = pad[0], conv.pad_left = pad[2];
  conv.out_h = output_size(x[1], pad[0], pad[1], kernel[0], conv.stride_h);
  conv.out_w = output_size(x[2], pad[2], pad[3], kernel[1], conv.stride_w);
  conv.groups = groups;
  if (floats(output_shape(conv)) > kMaxFloats)
    return "the output " + to_string(output_shape(conv)) + " has more than 2^48 numbers";
  return {};
}

Problem make_pool(const Shape& x, const Shape& window, const Geometry& geometry, Pool& pool) {
  if (Problem problem = check_geometry(geometry); !problem.empty()) return problem;
  if (Problem problem = check_image(x); !problem.empty()) return problem;
  if (window.size() != 2 || window[0] < 1 || window[1] < 1)
    return "window must be two positive integers, got " + to_string(window);
  if (is_empty(x, 1)) return "x " + to_string(x) + " is empty";
  if (Problem problem = check_padded(x, geometry); !problem.empty()) return problem;
  const Shape &strides = geometry.strides, &pad = geometry.padding;
  pool.batch = x[0], pool.in_h = x[1], pool.in_w = x[2], pool.channels = x[3];
  pool.window_h = window[0], pool.window_w = window[1];
  pool.stride_h = effective_stride(x[1], pad[0], pad[1], strides[0]);
  pool.stride_w = effective_stride(x[2], pad[2], pad[3], strides[1]);
  pool.out_h = output_size(x[1], pad[0], pad[1], window[0], pool.stride_h);
  pool.out_w = output_size(x[2], pad[2], pad[3], window[1], pool.stride_w);
  pool.pad_top = pad[0], pool.pad_left = pad[2];
  return {};
}

}  // namespace resfuse
