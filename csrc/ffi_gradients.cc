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
  const bool done = run_input_gradient(isa_in_use(), conv, d_y.typed_data(), kernel.typed_data(),
                                       d_x->typed_data(), choice_in_use(winograd),
                                       pool.num_threads(), schedule_on(pool));
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
  const bool done = run_weight_gradient(isa_in_use(), conv, x.typed_data(), d_y.typed_data(),
                                        d_kernel->typed_data(), choice_in_use(winograd),
                                        pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("the gradient's parts or scratch");
}

// Checks the arrays that both passes of the norm read; `y` is the last, if it is there.
Problem make_norm(const Input& d_y, const Input& conv, const Input& mean, ffi::RemainingArgs rest,
                  Norm& norm) {
  const Shape whole = shape(d_y);
  if (whole.size() != 4) return "d_y must have rank 4, got shape " + to_string(whole);
  if (whole[3] == 0) return "d_y " + to_string(whole) + " has no channels";
  const Shape channels{whole[3]};
  Problem problem = check_shape("conv", shape(conv), whole);
  if (problem.empty()) problem = check_shape("mean", shape(mean), channels);
  norm = {whole[0] * whole[1] * whole[2],
          whole[3],
          d_y.typed_data(),
          conv.typed_data(),
          mean.typed_data(),
          nullptr};
  if (!problem.empty() || rest.size() == 0) return problem;
  if (rest.size() > 1) return "at most one y is expected";
  const auto y = rest.get<Input>(0);
  if (!y.has_value()) return y.error().message();
  norm.y = y->typed_data();
  return check_shape("y", shape(*y), whole);
}

ffi::Error norm_sums_impl(ffi::ThreadPool pool, Input d_y, Input conv, Input mean,
                          ffi::RemainingArgs rest, Output plain, Output weighted) {
  Norm norm;
  Problem problem = make_norm(d_y, conv, mean, rest, norm);
  const Shape channels{norm.channels};
  if (problem.empty()) problem = check_shape("the first sum", shape(plain), channels);
  if (problem.empty()) problem = check_shape("the second sum", shape(weighted), channels);
  if (!problem.empty()) return invalid(problem);
  const bool done = run_norm_sums(isa_in_use(), norm, plain->typed_data(), weighted->typed_data(),
                                  pool.num_threads(), schedule_on(pool));
  return done ? ffi::Error::Success() : out_of_memory("sums");
}

ffi::Error norm_gradient_impl(ffi::ThreadPool pool, Input d_y, Input conv, Input mean, Input a,
                              Input b, Input d, ffi::RemainingArgs rest, Output d_conv,
                              ffi::RemainingRets more) {
  Norm norm;
  Problem problem = make_norm(d_y, conv, mean, rest, norm);
  const Shape channels{norm.channels};
  if (problem.empty()) problem = check_shape("a", shape(a), channels);
  if (problem.empty()) problem = check_shape("b", shape(b), channels);
  if (problem.empty()) problem = check_shape("d", shape(d), channels);
  if (problem.empty()) problem = check_shape("d_conv", shape(d_conv), shape(conv));
  if (problem.empty() && more.size() > 1) problem = "at most one d_residual is expected";
  if (!problem.empty()) return invalid(problem);
  float* d_residual = nullptr;
  if (more.size() == 1) {
    auto residual = more.get<ffi::Buffer<ffi::F32>>(0);
    if (!residual.has_value()) return residual.error();
    problem = check_shape("d_residual", shape(*residual), shape(conv));
    if (!problem.empty()) return invalid(problem);
    d_residual = (*residual)->typed_data();
  }
  run_norm_gradient(isa_in_use(), norm, {a.typed_data(), b.typed_data(), d.typed_data()},
                    d_conv->typed_data(), d_residual, pool.num_threads(), schedule_on(pool));
  return ffi::Error::Success();
}

ffi::Error max_pool_gradient_impl(ffi::ThreadPool threads, Input x, Input d_y, Output d_x,
                                  Attribute window, Attribute strides, Attribute padding) {
  Pool pool;
  Problem problem = make_pool(shape(x), shape(window), {shape(strides), shape(padding), 1}, pool);
  const Shape expected{pool.batch, pool.out_h, pool.out_w, pool.channels};
  if (problem.empty()) problem = check_shape("d_y", shape(d_y), expected);
  if (problem.empty()) problem = check_shape("d_x", shape(d_x), shape(x));
  if (!problem.empty()) return invalid(problem);
  run_pool_gradient(isa_in_use(), pool, x.typed_data(), d_y.typed_data(), d_x->typed_data(),
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(norm_sums, NoThrow<norm_sums_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                    // d_y
                                  .Arg<Input>()                    // conv
                                  .Arg<Input>()                    // mean
                                  .RemainingArgs()                 // y
                                  .Ret<ffi::Buffer<ffi::F32>>()    // sum of g
                                  .Ret<ffi::Buffer<ffi::F32>>());  // sum of g * (conv - mean)

XLA_FFI_DEFINE_HANDLER_SYMBOL(norm_gradient, NoThrow<norm_gradient_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                  // d_y
                                  .Arg<Input>()                  // conv
                                  .Arg<Input>()                  // mean
                                  .Arg<Input>()                  // a
                                  .Arg<Input>()                  // b
                                  .Arg<Input>()                  // d
                                  .RemainingArgs()               // y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_conv
                                  .RemainingRets());             // d_residual

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
