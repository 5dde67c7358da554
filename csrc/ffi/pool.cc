// Max pooling and its gradient.

#include "ffi/call.h"
#include "pool/run_pool.h"

namespace resfuse {
namespace {

Pool bind_pool(Call& call, const Operand& x) {
  const Shape window = call.integers("window");
  const Geometry geometry{call.integers("strides"), call.integers("padding"), {1, 1}, {1, 1}, 1};
  return make_pool(x.shape, window, geometry, call.check);
}

// (x) -> y
ffi::Error max_pool(Call& call) {
  const Operand x = call.operand("x");
  const Result y = call.result("y");
  const Pool pool = bind_pool(call, x);
  call.expect(y, output_shape(pool));
  if (!call.is_valid()) return call.invalid();
  run_pool(isa_in_use(), pool, x.data, y.data, call.max_threads(), call.schedule());
  return ffi::Error::Success();
}

// (x, d_y) -> d_x
ffi::Error max_pool_gradient(Call& call) {
  const Operand x = call.operand("x"), d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Pool pool = bind_pool(call, x);
  call.expect(d_y, output_shape(pool));
  call.expect(d_x, x.shape);
  if (!call.is_valid()) return call.invalid();
  run_pool_gradient(isa_in_use(), pool, x.data, d_y.data, d_x.data, call.max_threads(),
                    call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> pool_handlers() {
  return {{"max_pool", handle<max_pool>}, {"max_pool_gradient", handle<max_pool_gradient>}};
}

}  // namespace resfuse
