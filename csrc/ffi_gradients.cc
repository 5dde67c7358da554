// From XLA's buffers to the gradients: validate, run.

#include "ffi_common.h"
#include "run_gradients.h"
#include "select.h"

namespace resfuse {
namespace {

ffi::Error conv_input_gradient_impl(ffi::ThreadPool pool, Input d_y, Input kernel, Output d_x,
                                    Attribute strides, Attribute padding, int64_t groups,
                                    bool winograd) {
  Conv conv;
  Problem problem =
      make_conv(shape(d_x), shape(kernel), {shape(strides), shape(padding), groups}, conv);
  if (problem.empty()) problem = check_shape("d_y", shape(d_y), output_shape(conv));
  if (!problem.empty()) return invalid(problem);
  const bool done =
      run_input_gradient(isa_in_use(), conv, d_y.typed_data(), kernel.typed_data(), to_write(d_x),
                         choice_in_use(winograd), pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("packed weights or scratch");
}

ffi::Error conv_weight_gradient_impl(ffi::ThreadPool pool, Input x, Input d_y, Output d_kernel,
                                     Attribute strides, Attribute padding, int64_t groups,
                                     bool winograd) {
  Conv conv;
  Problem problem =
      make_conv(shape(x), shape(d_kernel), {shape(strides), shape(padding), groups}, conv);
  if (problem.empty()) problem = check_shape("d_y", shape(d_y), output_shape(conv));
  if (!problem.empty()) return invalid(problem);
  const bool done =
      run_weight_gradient(isa_in_use(), conv, x.typed_data(), d_y.typed_data(), to_write(d_kernel),
                          choice_in_use(winograd), pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("the gradient's parts or scratch");
}

ffi::Error max_pool_gradient_impl(ffi::ThreadPool threads, Input x, Input d_y, Output d_x,
                                  Attribute window, Attribute strides, Attribute padding) {
  Pool pool;
  Problem problem = make_pool(shape(x), shape(window), {shape(strides), shape(padding), 1}, pool);
  const Shape expected{pool.batch, pool.out_h, pool.out_w, pool.channels};
  if (problem.empty()) problem = check_shape("d_y", shape(d_y), expected);
  if (problem.empty()) problem = check_shape("d_x", shape(d_x), shape(x));
  if (!problem.empty()) return invalid(problem);
  run_pool_gradient(isa_in_use(), pool, x.typed_data(), d_y.typed_data(), to_write(d_x),
                    threads.num_threads(), schedule_on(threads));
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_input_gradient, NoThrow<conv_input_gradient_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                  // d_y
                                  .Arg<Input>()                  // kernel
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_x
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_weight_gradient, NoThrow<conv_weight_gradient_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // d_y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_kernel
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(max_pool_gradient, NoThrow<max_pool_gradient_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // d_y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_x
                                  .Attr<Attribute>("window")
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding"));

}  // namespace resfuse
