// Pooling and its gradient.

#include "ffi/call.h"
#include "pool/run_pool.h"

namespace resfuse {
namespace {

Pool bind_pool(Call& call, Reduction reduction, const Shape& x) {
  const Shape window = call.integers("window"), strides = call.integers("strides"),
              padding = call.integers("padding"), dilation = call.integers("window_dilation");
  return make_pool(reduction, x, {window, strides, padding, dilation}, call.check);
}

// (x) -> y
template <Reduction reduction>
ffi::Error pool(Call& call) {
  const Operand x = call.operand("x");
  const Result y = call.result("y");
  const Pool pool = bind_pool(call, reduction, x.shape);
  call.expect(y, output_shape(pool, x.shape));
  if (!call.is_valid()) return call.invalid();
  return success_if(
      run_pool(isa_in_use(), pool, x.data, y.data, call.max_threads(), call.schedule()),
      "the parts of an image");
}

// (x, d_y) -> d_x, of a maximum; (d_y) -> d_x, of a sum
template <Reduction reduction>
ffi::Error pool_gradient(Call& call) {
  const Operand x = reduction == Reduction::kMax ? call.operand("x") : Operand{};
  const Operand d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Shape& image = reduction == Reduction::kMax ? x.shape : d_x.shape;
  const Pool pool = bind_pool(call, reduction, image);
  call.expect(d_y, output_shape(pool, image));
  call.expect(d_x, image);
  if (!call.is_valid()) return call.invalid();
  run_pool_gradient(isa_in_use(), pool, x.data, d_y.data, d_x.data, call.max_threads(),
                    call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> pool_handlers() {
  return {{"max_pool", handle<pool<Reduction::kMax>>},
          {"max_pool_gradient", handle<pool_gradient<Reduction::kMax>>},
          {"sum_pool", handle<pool<Reduction::kSum>>},
          {"sum_pool_gradient", handle<pool_gradient<Reduction::kSum>>}};
}

}  // namespace resfuse
