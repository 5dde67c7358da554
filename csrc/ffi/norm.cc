// The passes of batch norm with the statistics of the batch, whose formulas are in norm.h.

#include "ffi/call.h"
#include "norm/run_norm.h"

namespace resfuse {
namespace {

// The number of pixels and channels of an image array.
struct Extent {
  int64_t pixels, channels;
};

Extent extent_of(const Operand& image, Check& check) {
  const Shape& shape = image.shape;
  const bool images = shape.size() >= 3 && shape.size() <= 5;
  if (!check.that(images, image.name, " must have rank 3 to 5, got shape ", shape)) return {};
  check.that(shape.back() > 0, image.name, " ", shape, " has no channels");
  int64_t pixels = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
  return {pixels, shape.back()};
}

// What both passes of the backward norm read.
Norm bind_norm(Call& call, const Operand& d_y, const Operand& conv, const Operand& mean,
               const Operand& y) {
  const Extent extent = extent_of(d_y, call.check);
  call.expect(conv, d_y.shape);
  call.expect(mean, {extent.channels});
  call.expect(y, d_y.shape);
  return {extent.pixels, extent.channels, d_y.data, conv.data, mean.data, y.data};
}

// (conv, mean, scale, shift[, residual]) -> y
ffi::Error normalize(Call& call) {
  const Operand conv = call.operand("conv"), mean = call.operand("mean");
  const Operand scale = call.operand("scale"), shift = call.operand("shift");
  const Operand residual = call.optional_operand("residual");
  const Result y = call.result("y");
  const bool relu = call.flag("relu");
  const Extent extent = extent_of(conv, call.check);
  for (const Operand* operand : {&mean, &scale, &shift}) call.expect(*operand, {extent.channels});
  call.expect(residual, conv.shape);
  call.expect(y, conv.shape);
  if (!call.is_valid()) return call.invalid();

  const Normalize norm{extent.pixels, extent.channels, conv.data,     mean.data,
                       scale.data,    shift.data,      residual.data, relu};
  run_normalize(isa_in_use(), norm, y.data, call.max_threads(), call.schedule());
  return ffi::Error::Success();
}

// (d_y, conv, mean[, y]) -> plain = sum of g, weighted = sum of g * (conv - mean)
ffi::Error norm_sums(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const Operand y = call.optional_operand("y");
  const Result plain = call.result("plain"), weighted = call.result("weighted");
  const Norm norm = bind_norm(call, d_y, conv, mean, y);
  call.expect(plain, {norm.channels});
  call.expect(weighted, {norm.channels});
  if (!call.is_valid()) return call.invalid();
  const bool done = run_norm_sums(isa_in_use(), norm, plain.data, weighted.data, call.max_threads(),
                                  call.schedule());
  return success_if(done, "sums");
}

// (d_y, conv, mean, a, b, d[, y]) -> d_conv[, d_residual]
ffi::Error norm_gradient(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const Operand a = call.operand("a"), b = call.operand("b"), d = call.operand("d");
  const Operand y = call.optional_operand("y");
  const Result d_conv = call.result("d_conv");
  const Result d_residual = call.optional_result("d_residual");
  const Norm norm = bind_norm(call, d_y, conv, mean, y);
  for (const Operand* operand : {&a, &b, &d}) call.expect(*operand, {norm.channels});
  call.expect(d_conv, conv.shape);
  call.expect(d_residual, conv.shape);
  if (!call.is_valid()) return call.invalid();
  run_norm_gradient(isa_in_use(), norm, {a.data, b.data, d.data}, d_conv.data, d_residual.data,
                    call.max_threads(), call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> norm_handlers() {
  return {{"normalize", handle<normalize>},
          {"norm_sums", handle<norm_sums>},
          {"norm_gradient", handle<norm_gradient>}};
}

}  // namespace resfuse
