// The gradients of a convolution: of its input, of its weights, and both in one call, which lets
// XLA update the weights in place.

#include "conv/phases.h"
#include "ffi/call.h"
#include "grad/run_gradients.h"

namespace resfuse {
namespace {

// The convolution whose output has the cotangent d_y.
ConvCall bind_gradient(Call& call, const Shape& x, const Shape& kernel, const Operand& d_y) {
  const ConvCall bound = bind_conv(call, x, kernel);
  call.expect(d_y, bound.output);
  if (call.check.passed()) check_phases(mirrored(bound.conv), call.check);
  return bound;
}

ffi::Error run_input(Call& call, const ConvCall& bound, const Operand& d_y, const Operand& kernel,
                     const Result& d_x) {
  const bool done = run_input_gradient(isa_in_use(), bound.conv, d_y.data, kernel.data, d_x.data,
                                       bound.choice, call.max_threads(), call.schedule());
  return success_if(done, "packed weights or scratch");
}

ffi::Error run_weights(Call& call, const ConvCall& bound, const Operand& x, const Operand& d_y,
                       const Result& d_kernel) {
  const bool done = run_weight_gradient(isa_in_use(), bound.conv, x.data, d_y.data, d_kernel.data,
                                        bound.choice, call.max_threads(), call.schedule());
  return success_if(done, "the gradient's chunks or scratch");
}

// (d_y, kernel) -> d_x
ffi::Error conv_input_gradient(Call& call) {
  const Operand d_y = call.operand("d_y"), kernel = call.operand("kernel");
  const Result d_x = call.result("d_x");
  const ConvCall bound = bind_gradient(call, d_x.shape, kernel.shape, d_y);
  return call.is_valid() ? run_input(call, bound, d_y, kernel, d_x) : call.invalid();
}

// (x, d_y) -> d_kernel
ffi::Error conv_weight_gradient(Call& call) {
  const Operand x = call.operand("x"), d_y = call.operand("d_y");
  const Result d_kernel = call.result("d_kernel");
  const ConvCall bound = bind_gradient(call, x.shape, d_kernel.shape, d_y);
  return call.is_valid() ? run_weights(call, bound, x, d_y, d_kernel) : call.invalid();
}

// (x, kernel, d_y) -> d_x, d_kernel
ffi::Error conv_gradients(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel"), d_y = call.operand("d_y");
  const Result d_x = call.result("d_x"), d_kernel = call.result("d_kernel");
  const ConvCall bound = bind_gradient(call, x.shape, kernel.shape, d_y);
  call.expect(d_x, x.shape);
  call.expect(d_kernel, kernel.shape);
  if (!call.is_valid()) return call.invalid();
  const ffi::Error error = run_input(call, bound, d_y, kernel, d_x);
  return error.failure() ? error : run_weights(call, bound, x, d_y, d_kernel);
}

}  // namespace

std::vector<Handler> gradient_handlers() {
  return {{"conv_input_gradient", handle<conv_input_gradient>},
          {"conv_weight_gradient", handle<conv_weight_gradient>},
          {"conv_gradients", handle<conv_gradients>}};
}

}  // namespace resfuse
