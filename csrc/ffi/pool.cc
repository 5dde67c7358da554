// Pooling and its gradient.

#include "ffi/call.h"
#include "pool/run_pool.h"

namespace resfuse {
namespace {

Pool bind_pool(Call& call, Reduction reduction, const Shape& x) {
  const Shape window = call.integers("window"), strides = call.integers("strides"),
              padding = call.integers("padding"), dilation = call.integers("window_dilation");
  const Shape none(strides.size(), 1);
  return make_pool(reduction, x, window, {strides, padding, none, dilation, 1}, call.check);
}

// (x) -> y
template <Reduction reduction>
ffi::Error pool(Call& call) {
  const Operand x = call.operand("x");
  const Result y = call.result("y");
  const Pool pool = bind_pool(call, reduction, x.shape);
  call.expect(y, output_shape(x.shape.size(), pool));
  if (!call.is_valid()) return call.invalid();
  return success_if(
      run_pool(isa_in_use(), pool, x.data, y.data, call.max_threads(), call.schedule()),
      "the parts of an image");
}

// (x, d_y) -> d_x
ffi::Error max_pool_gradient(Call& call) {
  const Operand x = call.operand("x"), d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Pool pool = bind_pool(call, Reduction::kMax, x.shape);
  call.expect(d_y, output_shape(x.shape.size(), pool));
  call.expect(d_x, x.shape);
  if (!call.is_valid()) return call.invalid();
  run_max_pool_gradient(isa_in_use(), pool, x.data, d_y.data, d_x.data, call.max_threads(),
                        call.schedule());
  return ffi::Error::Success();
}

// (d_y) -> d_x
ffi::Error sum_pool_gradient(Call& call) {
  const Operand d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Pool pool = bind_pool(call, Reduction::kSum, d_x.shape);
  call.expect(d_y, output_shape(d_x.shape.size(), pool));
  if (!call.is_valid()) return call.invalid();
  run_sum_pool_gradient(isa_in_use(), pool, d_y.data, d_x.data, call.max_threads(),
                        call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> pool_handlers() {
  return {{"max_pool", handle<pool<Reduction::kMax>>},
          {"max_pool_gradient", handle<max_pool_gradient>},
          {"sum_pool", handle<pool<Reduction::kSum>>},
          {"sum_pool_gradient", handle<sum_pool_gradient>}};
}

}  // namespace resfuse
