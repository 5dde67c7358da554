// The gradients of a convolution: of its input, of its weights, and both in one call, which lets
// XLA update the weights in place.

#include "conv/phases.h"
#include "ffi/handler.h"
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

Bound input_gradient(const Settings& settings, const ConvCall& of, const Operand& d_y,
                     const Operand& kernel, const Result& d_x) {
  const Isa& isa = *settings.isa;
  const Jobs jobs = make_jobs(mirrored(of.conv), true, isa.tile, *settings.machine,
                              {of.choice, false, false, settings.threads});
  return [=, &isa](Execution& now) {
    const bool done =
        run(isa, jobs, {now.data(d_y), now.data(kernel), now.data(d_x)}, now.schedule());
    return success_if(done, "packed weights or scratch");
  };
}

Bound weight_gradient(const Settings& settings, const ConvCall& of, const Operand& x,
                      const Operand& d_y, const Result& d_kernel) {
  return [=](Execution& now) {
    const bool done =
        run_weight_gradient(*settings.isa, of.conv, now.data(x), now.data(d_y), now.data(d_kernel),
                            of.choice, now.max_threads(), now.schedule());
    return success_if(done, "the gradient's chunks or scratch");
  };
}

// (d_y, kernel) -> d_x
Bound conv_input_gradient(Call& call) {
  const Operand d_y = call.operand("d_y"), kernel = call.operand("kernel");
  const Result d_x = call.result("d_x");
  const ConvCall of = bind_gradient(call, d_x.shape, kernel.shape, d_y);
  return call.is_valid() ? input_gradient(call.settings, of, d_y, kernel, d_x) : Bound{};
}

// (x, d_y) -> d_kernel
Bound conv_weight_gradient(Call& call) {
  const Operand x = call.operand("x"), d_y = call.operand("d_y");
  const Result d_kernel = call.result("d_kernel");
  const ConvCall of = bind_gradient(call, x.shape, d_kernel.shape, d_y);
  return call.is_valid() ? weight_gradient(call.settings, of, x, d_y, d_kernel) : Bound{};
}

// (x, kernel, d_y) -> d_x, d_kernel
Bound conv_gradients(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel"), d_y = call.operand("d_y");
  const Result d_x = call.result("d_x"), d_kernel = call.result("d_kernel");
  const ConvCall of = bind_gradient(call, x.shape, kernel.shape, d_y);
  call.expect(d_x, x.shape);
  call.expect(d_kernel, kernel.shape);
  if (!call.is_valid()) return {};
  const Bound of_input = input_gradient(call.settings, of, d_y, kernel, d_x);
  const Bound of_weights = weight_gradient(call.settings, of, x, d_y, d_kernel);
  return [=](Execution& now) {
    const ffi::Error error = of_input(now);
    return error.failure() ? error : of_weights(now);
  };
}

}  // namespace

std::vector<Handler> gradient_handlers() {
  return {{"conv_input_gradient", execute<conv_input_gradient>},
          {"conv_weight_gradient", execute<conv_weight_gradient>},
          {"conv_gradients", execute<conv_gradients>}};
}

}  // namespace resfuse
