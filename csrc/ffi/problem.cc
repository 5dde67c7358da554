#include "ffi/problem.h"

namespace resfuse {
namespace {

// Strides, padding and windows beyond this would overflow the arithmetic on pixels.
constexpr int64_t kMaxExtent = int64_t{1} << 31;

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t window, int64_t stride) {
  const int64_t room = size + before + after - window;
  return room < 0 ? 0 : room / stride + 1;
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
    if (stride < 1 || stride > kMaxExtent)
      return "strides must be in [1, 2^31], got " + to_string(geometry.strides);
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
  if (x.size() != 4) return "x must have rank 4, got shape " + to_string(x);
  if (kernel.size() != 4) return "kernel must have rank 4, got shape " + to_string(kernel);
  for (const int64_t size : kernel)  // no buffer stands behind the shape of a packed kernel
    if (size < 0 || size > kMaxExtent)
      return "kernel sizes must be in [1, 2^31], got " + to_string(kernel);
  if (is_empty(kernel, 0) || is_empty(x, 1))
    return "x " + to_string(x) + " or kernel " + to_string(kernel) + " is empty";
  const int64_t groups = geometry.groups;
  if (x[3] % groups != 0 || kernel[2] != x[3] / groups || kernel[3] % groups != 0)
    return "kernel " + to_string(kernel) + " and groups=" + std::to_string(groups) +
           " do not fit x " + to_string(x);
  const Shape &strides = geometry.strides, &pad = geometry.padding;
  conv.batch = x[0], conv.in_h = x[1], conv.in_w = x[2], conv.in_c = x[3];
  conv.kernel_h = kernel[0], conv.kernel_w = kernel[1], conv.out_c = kernel[3];
  conv.stride_h = strides[0], conv.stride_w = strides[1];
  conv.pad_top = pad[0], conv.pad_left = pad[2];
  conv.out_h = output_size(x[1], pad[0], pad[1], kernel[0], conv.stride_h);
  conv.out_w = output_size(x[2], pad[2], pad[3], kernel[1], conv.stride_w);
  conv.groups = groups;
  return {};
}

Problem make_pool(const Shape& x, const Shape& window, const Geometry& geometry, Pool& pool) {
  if (Problem problem = check_geometry(geometry); !problem.empty()) return problem;
  if (x.size() != 4) return "x must have rank 4, got shape " + to_string(x);
  if (window.size() != 2 || window[0] < 1 || window[1] < 1)
    return "window must be two positive integers, got " + to_string(window);
  if (is_empty(x, 1)) return "x " + to_string(x) + " is empty";
  const Shape &strides = geometry.strides, &pad = geometry.padding;
  pool.batch = x[0], pool.in_h = x[1], pool.in_w = x[2], pool.channels = x[3];
  pool.window_h = window[0], pool.window_w = window[1];
  pool.out_h = output_size(x[1], pad[0], pad[1], window[0], strides[0]);
  pool.out_w = output_size(x[2], pad[2], pad[3], window[1], strides[1]);
  pool.stride_h = strides[0], pool.stride_w = strides[1];
  pool.pad_top = pad[0], pool.pad_left = pad[2];
  return {};
}

}  // namespace resfuse
