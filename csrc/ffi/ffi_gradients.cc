// From XLA's buffers to the gradients: validate, run.

#include "ffi/ffi_common.h"
#include "ffi/select.h"
#include "grad/run_gradients.h"

namespace resfuse {
namespace {

// The convolution that these gradients belong to.
Problem make_checked(const Shape& x, const Shape& kernel, const Shape& d_y,
                     const Geometry& geometry, Conv& conv) {
  Problem problem = make_conv(x, kernel, geometry, conv);
  return problem.empty() ? check_shape("d_y", d_y, output_shape(conv)) : problem;
}

ffi::Error by_input(const Conv& conv, const Input& d_y, const Input& kernel, Output& d_x,
                    bool winograd, ffi::ThreadPool& pool) {
  const bool done =
      run_input_gradient(isa_in_use(), conv, d_y.typed_data(), kernel.typed_data(), to_write(d_x),
                         choice_in_use(winograd), pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("packed weights or scratch");
}

ffi::Error by_weights(const Conv& conv, const Input& x, const Input& d_y, Output& d_kernel,
                      bool winograd, ffi::ThreadPool& pool) {
  const bool done =
      run_weight_gradient(isa_in_use(), conv, x.typed_data(), d_y.typed_data(), to_write(d_kernel),
                          choice_in_use(winograd), pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("the gradient's parts or scratch");
}

ffi::Error conv_input_gradient_impl(ffi::ThreadPool pool, Input d_y, Input kernel, Output d_x,
                                    Attribute strides, Attribute padding, int64_t groups,
                                    bool winograd) {
  Conv conv;
  const Problem problem = make_checked(shape(d_x), shape(kernel), shape(d_y),
                                       {shape(strides), shape(padding), groups}, conv);
  if (!problem.empty()) return invalid(problem);
  return by_input(conv, d_y, kernel, d_x, winograd, pool);
}

ffi::Error conv_weight_gradient_impl(ffi::ThreadPool pool, Input x, Input d_y, Output d_kernel,
                                     Attribute strides, Attribute padding, int64_t groups,
                                     bool winograd) {
  Conv conv;
  const Problem problem = make_checked(shape(x), shape(d_kernel), shape(d_y),
                                       {shape(strides), shape(padding), groups}, conv);
  if (!problem.empty()) return invalid(problem);
  return by_weights(conv, x, d_y, d_kernel, winograd, pool);
}

ffi::Error conv_gradients_impl(ffi::ThreadPool pool, Input x, Input kernel, Input d_y, Output d_x,
                               Output d_kernel, Attribute strides, Attribute padding,
                               int64_t groups, bool winograd) {
  Conv conv;
  Problem problem = make_checked(shape(x), shape(kernel), shape(d_y),
                                 {shape(strides), shape(padding), groups}, conv);
  if (problem.empty()) problem = check_shape("d_x", shape(d_x), shape(x));
  if (problem.empty()) problem = check_shape("d_kernel", shape(d_kernel), shape(kernel));
  if (!problem.empty()) return invalid(problem);
  const ffi::Error error = by_input(conv, d_y, kernel, d_x, winograd, pool);
  return error.failure() ? error : by_weights(conv, x, d_y, d_kernel, winograd, pool);
}

ffi::Error max_pool_gradient_impl(ffi::ThreadPool threads, Input x, Input d_y, Output d_x,
                                  Attribute window, Attribute strides, Attribute padding) {
  Pool pool{};
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
                              bind()
                                  .Arg<Input>()                  // d_y
                                  .Arg<Input>()                  // kernel
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_x
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_weight_gradient, NoThrow<conv_weight_gradient_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // d_y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_kernel
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_gradients, NoThrow<conv_gradients_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // kernel
                                  .Arg<Input>()                  // d_y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_x
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_kernel
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(max_pool_gradient, NoThrow<max_pool_gradient_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // d_y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_x
                                  .Attr<Attribute>("window")
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding"));

}  // namespace resfuse
