// From XLA's buffers to the kernel: validate, plan, run.

#include <memory>
#include <new>

#include "conv/run.h"
#include "ffi/ffi_common.h"
#include "ffi/select.h"
#include "norm/statistics.h"

namespace resfuse {
namespace {

ffi::Error run_job(Job& job, const Isa& isa, ffi::ThreadPool& pool) {
  return run(isa, job, schedule_on(pool)) ? ffi::Error::Success()
                                          : out_of_memory("packed weights or scratch");
}

ffi::Error conv_affine_impl(ffi::ThreadPool pool, Input x, Input kernel, Input scale, Input shift,
                            ffi::RemainingArgs rest, Output y, Attribute strides, Attribute padding,
                            int64_t groups, bool relu, bool winograd, Attribute packed) {
  Conv conv;
  const bool is_packed = packed.size() != 0;
  const Isa* isa = &isa_in_use();
  Problem problem = make_conv(shape(x), is_packed ? shape(packed) : shape(kernel),
                              {shape(strides), shape(padding), groups}, conv);
  if (problem.empty()) problem = check_shape("the output", shape(y), output_shape(conv));
  if (problem.empty()) problem = check_shape("scale", shape(scale), {conv.out_c});
  if (problem.empty()) problem = check_shape("shift", shape(shift), {conv.out_c});
  if (problem.empty() && is_packed) problem = find_isa(conv, shape(kernel), isa);
  if (!problem.empty()) return invalid(problem);
  Epilogue epilogue{scale.typed_data(), shift.typed_data(), nullptr, relu};
  if (rest.size() > 1) return invalid("at most one residual is expected");
  if (rest.size() == 1) {
    const auto residual = rest.get<Input>(0);
    if (!residual.has_value()) return residual.error();
    problem = check_shape("residual", shape(*residual), output_shape(conv));
    if (!problem.empty()) return invalid(problem);
    epilogue.residual = residual->typed_data();
  }
  const Request request{choice_in_use(winograd), is_packed, false, pool.num_threads()};
  Job job{conv, make_plan(conv, isa->tile, machine_in_use(), request), {}};
  job.operands = {x.typed_data(), kernel.typed_data(), to_write(y), &epilogue};
  return run_job(job, *isa, pool);
}

ffi::Error conv_statistics_impl(ffi::ThreadPool pool, Input x, Input kernel, Output y, Output mean,
                                Output var, Attribute strides, Attribute padding, int64_t groups,
                                bool winograd) {
  Conv conv;
  Problem problem =
      make_conv(shape(x), shape(kernel), {shape(strides), shape(padding), groups}, conv);
  if (problem.empty()) problem = check_shape("the output", shape(y), output_shape(conv));
  if (problem.empty()) problem = check_shape("mean", shape(mean), {conv.out_c});
  if (problem.empty()) problem = check_shape("var", shape(var), {conv.out_c});
  if (!problem.empty()) return invalid(problem);
  const Isa& isa = isa_in_use();
  const Request request{choice_in_use(winograd), false, true, pool.num_threads()};
  Job job{conv, make_plan(conv, isa.tile, machine_in_use(), request), {}};
  const std::unique_ptr<double[]> sums(
      new (std::nothrow) double[static_cast<size_t>(job.plan.blocks.count * 3 * conv.out_c)]);
  if (!sums) return out_of_memory("sums");
  job.operands = {x.typed_data(), kernel.typed_data(), to_write(y), nullptr, sums.get()};
  const ffi::Error error = run_job(job, isa, pool);
  if (error.success())
    combine_statistics(sums.get(), job.plan.blocks.count, conv.out_c, mean->typed_data(),
                       var->typed_data());
  return error;
}

// The convolution of one pixel: packing asks nothing else of the image.
Problem make_pixel_conv(const Shape& kernel, int64_t groups, Conv& conv) {
  if (kernel.size() != 4) return "kernel must have rank 4, got shape " + to_string(kernel);
  const Shape pads{kernel[0], 0, kernel[1], 0};
  return make_conv({1, 1, 1, kernel[2] * groups}, kernel, {{1, 1}, pads, groups}, conv);
}

ffi::Error pack_impl(ffi::ThreadPool pool, Input kernel, Output packed, int64_t groups) {
  Conv conv;
  const Isa* isa = nullptr;
  Problem problem = make_pixel_conv(shape(kernel), groups, conv);
  if (problem.empty()) problem = find_isa(conv, shape(packed), isa);
  if (!problem.empty()) return invalid(problem);
  const Layout layout = make_layout(conv, isa->tile.nr);
  const auto pack = [&](int64_t panel, float* to) {
    pack_panel(conv, layout, kernel.typed_data(), panel, to);
  };
  pack_all(layout, packed->typed_data(), pack, pool.num_threads(), schedule_on(pool));
  return ffi::Error::Success();
}

ffi::Error max_pool_impl(ffi::ThreadPool threads, Input x, Output y, Attribute window,
                         Attribute strides, Attribute padding) {
  Pool pool{};
  Problem problem = make_pool(shape(x), shape(window), {shape(strides), shape(padding), 1}, pool);
  const Shape expected{pool.batch, pool.out_h, pool.out_w, pool.channels};
  if (problem.empty()) problem = check_shape("the output", shape(y), expected);
  if (!problem.empty()) return invalid(problem);
  run_pool(isa_in_use(), pool, x.typed_data(), to_write(y), threads.num_threads(),
           schedule_on(threads));
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_affine, NoThrow<conv_affine_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // kernel
                                  .Arg<Input>()                  // scale
                                  .Arg<Input>()                  // shift
                                  .RemainingArgs()               // residual
                                  .Ret<ffi::Buffer<ffi::F32>>()  // y
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("relu")
                                  .Attr<bool>("winograd")
                                  .Attr<Attribute>("packed"));  // the kernel's shape, or empty

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_statistics, NoThrow<conv_statistics_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // kernel
                                  .Ret<ffi::Buffer<ffi::F32>>()  // conv
                                  .Ret<ffi::Buffer<ffi::F32>>()  // mean
                                  .Ret<ffi::Buffer<ffi::F32>>()  // var
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(pack, NoThrow<pack_impl>::call,
                              bind()
                                  .Arg<Input>()                  // kernel
                                  .Ret<ffi::Buffer<ffi::F32>>()  // packed
                                  .Attr<int64_t>("groups"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(max_pool, NoThrow<max_pool_impl>::call,
                              bind()
                                  .Arg<Input>()                  // x
                                  .Ret<ffi::Buffer<ffi::F32>>()  // y
                                  .Attr<Attribute>("window")
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding"));

}  // namespace resfuse
