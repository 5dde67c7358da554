// From XLA's buffers to the passes of batch norm: validate, run.

#include "ffi/ffi_common.h"
#include "norm/run_norm.h"

namespace resfuse {
namespace {

ffi::Error normalize_impl(ffi::ThreadPool pool, Input conv, Input mean, Input scale, Input shift,
                          ffi::RemainingArgs rest, Output y, bool relu) {
  const Shape whole = shape(conv);
  if (whole.size() != 4) return invalid("conv must have rank 4, got shape " + to_string(whole));
  if (whole[3] == 0) return invalid("conv " + to_string(whole) + " has no channels");
  const Shape channels{whole[3]};
  Problem problem = check_shape("mean", shape(mean), channels);
  if (problem.empty()) problem = check_shape("scale", shape(scale), channels);
  if (problem.empty()) problem = check_shape("shift", shape(shift), channels);
  if (problem.empty()) problem = check_shape("y", shape(y), whole);
  if (problem.empty() && rest.size() > 1) problem = "at most one residual is expected";
  if (!problem.empty()) return invalid(problem);
  Normalize norm{whole[0] * whole[1] * whole[2],
                 whole[3],
                 conv.typed_data(),
                 mean.typed_data(),
                 scale.typed_data(),
                 shift.typed_data(),
                 nullptr,
                 relu};
  if (rest.size() == 1) {
    const auto residual = rest.get<Input>(0);
    if (!residual.has_value()) return residual.error();
    problem = check_shape("residual", shape(*residual), whole);
    if (!problem.empty()) return invalid(problem);
    norm.residual = residual->typed_data();
  }
  run_normalize(isa_in_use(), norm, to_write(y), pool.num_threads(), schedule_on(pool));
  return ffi::Error::Success();
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
  Norm norm{};
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
  Norm norm{};
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
                    to_write(d_conv), d_residual, pool.num_threads(), schedule_on(pool));
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(normalize, NoThrow<normalize_impl>::call,
                              bind()
                                  .Arg<Input>()                  // conv
                                  .Arg<Input>()                  // mean
                                  .Arg<Input>()                  // scale
                                  .Arg<Input>()                  // shift
                                  .RemainingArgs()               // residual
                                  .Ret<ffi::Buffer<ffi::F32>>()  // y
                                  .Attr<bool>("relu"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(norm_sums, NoThrow<norm_sums_impl>::call,
                              bind()
                                  .Arg<Input>()                    // d_y
                                  .Arg<Input>()                    // conv
                                  .Arg<Input>()                    // mean
                                  .RemainingArgs()                 // y
                                  .Ret<ffi::Buffer<ffi::F32>>()    // sum of g
                                  .Ret<ffi::Buffer<ffi::F32>>());  // sum of g * (conv - mean)

XLA_FFI_DEFINE_HANDLER_SYMBOL(norm_gradient, NoThrow<norm_gradient_impl>::call,
                              bind()
                                  .Arg<Input>()                  // d_y
                                  .Arg<Input>()                  // conv
                                  .Arg<Input>()                  // mean
                                  .Arg<Input>()                  // a
                                  .Arg<Input>()                  // b
                                  .Arg<Input>()                  // d
                                  .RemainingArgs()               // y
                                  .Ret<ffi::Buffer<ffi::F32>>()  // d_conv
                                  .RemainingRets());             // d_residual

}  // namespace resfuse
