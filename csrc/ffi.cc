// From XLA's buffers to the kernel: validate, plan, run. Nothing here trusts its caller: a program
// can be exported, edited and loaded again. No exception leaves a handler.

#include "ffi.h"

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "run.h"

namespace resfuse {
namespace {

namespace ffi = xla::ffi;
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::Result<ffi::Buffer<ffi::F32>>;
using Attribute = ffi::Span<const int64_t>;

// Strides and padding beyond this would overflow the arithmetic on pixels.
constexpr int64_t kMaxExtent = int64_t{1} << 31;

struct Attributes {
  Attribute strides;  // (height, width)
  Attribute padding;  // (top, bottom, left, right)
  int64_t groups;
};

template <typename Dimensions>
std::string to_string(const Dimensions& dimensions) {
  std::string text = "(";
  for (const int64_t size : dimensions) text += std::to_string(size) + ",";
  return text + ")";
}

ffi::Error invalid(const std::string& what) {
  return ffi::Error::InvalidArgument("resfuse: " + what);
}

ffi::Error check_shape(const char* name, ffi::Span<const int64_t> got,
                       std::initializer_list<int64_t> expected) {
  bool same = got.size() == expected.size();
  size_t axis = 0;
  for (const int64_t size : expected) same = same && got[axis++] == size;
  if (same) return ffi::Error::Success();
  return invalid(std::string(name) + " has shape " + to_string(got) + ", expected " +
                 to_string(expected));
}

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t window, int64_t stride) {
  const int64_t room = size + before + after - window;
  return room < 0 ? 0 : room / stride + 1;
}

ffi::Error check_attributes(const Attributes& attributes) {
  if (attributes.strides.size() != 2) return invalid("strides must be two integers");
  if (attributes.padding.size() != 4) return invalid("padding must be four integers");
  for (const int64_t stride : attributes.strides)
    if (stride < 1 || stride > kMaxExtent)
      return invalid("strides must be in [1, 2^31], got " + to_string(attributes.strides));
  for (const int64_t pad : attributes.padding)
    if (pad < 0 || pad > kMaxExtent)
      return invalid("padding must be in [0, 2^31], got " + to_string(attributes.padding));
  if (attributes.groups < 1)
    return invalid("groups must be at least 1, got " + std::to_string(attributes.groups));
  return ffi::Error::Success();
}

ffi::Error make_conv(const Input& x, const Input& kernel, Output y, const Attributes& attributes,
                     Conv& conv) {
  if (ffi::Error error = check_attributes(attributes); error.failure()) return error;
  const auto in = x.dimensions(), window = kernel.dimensions(), pad = attributes.padding;
  if (in.size() != 4) return invalid("x must have rank 4, got shape " + to_string(in));
  if (window.size() != 4) return invalid("kernel must have rank 4, got shape " + to_string(window));
  const int64_t groups = attributes.groups;
  if (kernel.element_count() == 0 || in[1] == 0 || in[2] == 0 || in[3] == 0)
    return invalid("x " + to_string(in) + " or kernel " + to_string(window) + " is empty");
  if (in[3] % groups != 0 || window[2] != in[3] / groups || window[3] % groups != 0)
    return invalid("kernel " + to_string(window) + " and groups=" + std::to_string(groups) +
                   " do not fit x " + to_string(in));
  conv.batch = in[0], conv.in_h = in[1], conv.in_w = in[2], conv.in_c = in[3];
  conv.kernel_h = window[0], conv.kernel_w = window[1], conv.out_c = window[3];
  conv.stride_h = attributes.strides[0], conv.stride_w = attributes.strides[1];
  conv.pad_top = pad[0], conv.pad_left = pad[2];
  conv.out_h = output_size(in[1], pad[0], pad[1], window[0], conv.stride_h);
  conv.out_w = output_size(in[2], pad[2], pad[3], window[1], conv.stride_w);
  conv.groups = groups;
  return check_shape("the output", y->dimensions(),
                     {conv.batch, conv.out_h, conv.out_w, conv.out_c});
}

ffi::Error run_job(Job& job, const Isa& isa, ffi::ThreadPool& pool) {
  const auto schedule = [&pool](auto task) { pool.Schedule(std::move(task)); };
  if (run(isa, job, schedule)) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "resfuse: out of memory for scratch");
}

Job plan_job(const Conv& conv, const Isa& isa, const ffi::ThreadPool& pool, bool winograd) {
  return {conv, make_plan(conv, isa.tile, pool.num_threads(), winograd), {}};
}

ffi::Error conv_affine_impl(ffi::ThreadPool pool, Input x, Input kernel, Input scale, Input shift,
                            ffi::RemainingArgs rest, Output y, Attribute strides, Attribute padding,
                            int64_t groups, bool relu, bool winograd) {
  Conv conv;
  ffi::Error error = make_conv(x, kernel, y, {strides, padding, groups}, conv);
  if (error.success()) error = check_shape("scale", scale.dimensions(), {conv.out_c});
  if (error.success()) error = check_shape("shift", shift.dimensions(), {conv.out_c});
  if (error.failure()) return error;
  Epilogue epilogue{scale.typed_data(), shift.typed_data(), nullptr, relu};
  if (rest.size() > 1) return invalid("at most one residual is expected");
  if (rest.size() == 1) {
    const auto residual = rest.get<Input>(0);
    if (!residual.has_value()) return residual.error();
    error = check_shape("residual", residual->dimensions(),
                        {conv.batch, conv.out_h, conv.out_w, conv.out_c});
    if (error.failure()) return error;
    epilogue.residual = residual->typed_data();
  }
  const Isa& isa = isa_in_use();
  Job job = plan_job(conv, isa, pool, winograd);
  job.operands = {x.typed_data(), kernel.typed_data(), y->typed_data(), &epilogue, nullptr};
  return run_job(job, isa, pool);
}

ffi::Error conv_statistics_impl(ffi::ThreadPool pool, Input x, Input kernel, Output y, Output mean,
                                Output var, Attribute strides, Attribute padding, int64_t groups) {
  Conv conv;
  ffi::Error error = make_conv(x, kernel, y, {strides, padding, groups}, conv);
  if (error.success()) error = check_shape("mean", mean->dimensions(), {conv.out_c});
  if (error.success()) error = check_shape("var", var->dimensions(), {conv.out_c});
  if (error.failure()) return error;
  const Isa& isa = isa_in_use();
  // Direct: Winograd's rounding would swamp the variance of a channel with a large mean.
  Job job = plan_job(conv, isa, pool, false);
  const std::unique_ptr<double[]> sums(
      new (std::nothrow) double[static_cast<size_t>(job.plan.blocks * 3 * conv.out_c)]);
  if (!sums)
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "resfuse: out of memory for sums");
  job.operands = {x.typed_data(), kernel.typed_data(), y->typed_data(), nullptr, sums.get()};
  error = run_job(job, isa, pool);
  if (error.success()) reduce_sums(job, mean->typed_data(), var->typed_data());
  return error;
}

// The handler without its exceptions: only allocation can throw here.
template <auto implementation>
struct NoThrow;
template <typename... Args, ffi::Error (*implementation)(Args...)>
struct NoThrow<implementation> {
  static ffi::Error call(Args... args) {
    try {
      return implementation(std::move(args)...);
    } catch (const std::exception& error) {
      return ffi::Error::Internal(std::string("resfuse: ") + error.what());
    }
  }
};

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_affine, NoThrow<conv_affine_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
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
                                  .Attr<bool>("winograd"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_statistics, NoThrow<conv_statistics_impl>::call,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Input>()                  // x
                                  .Arg<Input>()                  // kernel
                                  .Ret<ffi::Buffer<ffi::F32>>()  // conv
                                  .Ret<ffi::Buffer<ffi::F32>>()  // mean
                                  .Ret<ffi::Buffer<ffi::F32>>()  // var
                                  .Attr<Attribute>("strides")
                                  .Attr<Attribute>("padding")
                                  .Attr<int64_t>("groups"));

}  // namespace resfuse
