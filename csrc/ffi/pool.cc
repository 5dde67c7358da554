// Pooling and its gradient.

#include "ffi/handler.h"
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
Bound pool(Call& call) {
  const Operand x = call.operand("x");
  const Result y = call.result("y");
  const Pool pool = bind_pool(call, reduction, x.shape);
  call.expect(y, output_shape(x.shape.size(), pool));
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa, plan = plan_pool(pool)](Execution& now) {
    return success_if(
        run_pool(*isa, plan, now.data(x), now.data(y), now.max_threads(), now.schedule()),
        "the parts of an image");
  };
}

// (x, d_y) -> d_x
Bound max_pool_gradient(Call& call) {
  const Operand x = call.operand("x"), d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Pool pool = bind_pool(call, Reduction::kMax, x.shape);
  call.expect(d_y, output_shape(x.shape.size(), pool));
  call.expect(d_x, x.shape);
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    run_max_pool_gradient(*isa, pool, now.data(x), now.data(d_y), now.data(d_x), now.max_threads(),
                          now.schedule());
    return ffi::Error::Success();
  };
}

// (d_y) -> d_x
Bound sum_pool_gradient(Call& call) {
  const Operand d_y = call.operand("d_y");
  const Result d_x = call.result("d_x");
  const Pool pool = bind_pool(call, Reduction::kSum, d_x.shape);
  call.expect(d_y, output_shape(d_x.shape.size(), pool));
  if (!call.is_valid()) return {};
  return
      [isa = call.settings.isa, windows = cut_windows(mirrored(pool)), d_y, d_x](Execution& now) {
        run_windows(*isa, windows, now.data(d_y), now.data(d_x), now.max_threads(), now.schedule());
        return ffi::Error::Success();
      };
}

}  // namespace

std::vector<Handler> pool_handlers() {
  return {{"max_pool", execute<pool<Reduction::kMax>>},
          {"max_pool_gradient", execute<max_pool_gradient>},
          {"sum_pool", execute<pool<Reduction::kSum>>},
          {"sum_pool_gradient", execute<sum_pool_gradient>}};
}

}  // namespace resfuse
