// The convolution in inference and in training, and the packing of its weights.

#include <memory>
#include <new>

#include "conv/run.h"
#include "ffi/call.h"
#include "ffi/epilogue.h"
#include "ffi/prologue.h"
#include "norm/statistics.h"

namespace resfuse {
namespace {

ffi::Error run_jobs(Call& call, const Isa& isa, Jobs& jobs) {
  return success_if(run(isa, jobs, call.schedule()), "packed weights or scratch");
}

// (x, parts..., [prologue_scale, prologue_shift], kernel, scale, shift, operands...)
// -> (y, outputs...). `packed` is the shape of a kernel that came packed, and otherwise empty.
ffi::Error conv_affine(Call& call) {
  const BoundImages x = bind_images(call);
  const Operand kernel = call.operand("kernel");
  const Result y = call.result("y");
  const Shape packed = call.integers("packed");
  const bool is_packed = !packed.empty();
  const auto [conv, choice, output] = bind_conv(call, x.shape, is_packed ? packed : kernel.shape);
  const Isa& isa = is_packed ? find_isa(conv, kernel.shape, call.check) : isa_in_use();
  if (x.has_prologue) check_prologue(conv, call.check);
  call.expect(y, output);
  const BoundEpilogue bound = bind_epilogue(call, conv, output, y);
  if (!call.is_valid()) return call.invalid();

  const Epilogue epilogue = bound.epilogue();
  Operands operands{x.data, kernel.data, y.data, &epilogue};
  if (x.has_prologue) operands.prologue = &x.prologue;
  Jobs jobs = make_jobs(conv, false, operands, isa.tile, machine_in_use(),
                        {choice, is_packed, false, call.max_threads(), x.has_prologue});
  return run_jobs(call, isa, jobs);
}

// (x, kernel) -> y, mean, var. Where these have fewer channels than y, every so many of y's count
// as one (kernel/fold.py).
ffi::Error conv_statistics(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel");
  const Result y = call.result("y"), mean = call.result("mean"), var = call.result("var");
  const auto [conv, choice, output] = bind_conv(call, x.shape, kernel.shape);
  call.expect(y, output);
  const int64_t channels = mean.shape.size() == 1 ? mean.shape[0] : 0;
  call.check.that(channels > 0 && conv.out_c % channels == 0, "mean has shape ", mean.shape,
                  ", expected a number that divides ", conv.out_c);
  call.expect(var, mean.shape);
  if (!call.is_valid()) return call.invalid();

  const Isa& isa = isa_in_use();
  Jobs jobs = make_jobs(conv, false, {x.data, kernel.data, y.data}, isa.tile, machine_in_use(),
                        {choice, false, true, call.max_threads()});
  const std::unique_ptr<double[]> moments(
      new (std::nothrow) double[static_cast<size_t>(jobs.blocks() * 3 * conv.out_c)]);
  if (!moments) return success_if(false, "the statistics");
  jobs.write_sums_to(moments.get());
  const ffi::Error error = run_jobs(call, isa, jobs);
  if (error.success())
    combine_statistics(moments.get(), jobs.blocks(), conv.out_c, channels, mean.data, var.data);
  return error;
}

// (kernel) -> packed, in the order of the instruction set whose shape that is.
ffi::Error pack(Call& call) {
  const Operand kernel = call.operand("kernel");
  const Result packed = call.result("packed");
  const Geometry geometry{{},
                          {},
                          call.integers("image_dilation"),
                          call.integers("window_dilation"),
                          call.integer("groups")};
  const Conv conv = make_kernel_conv(kernel.shape, geometry, call.check);
  const Isa& isa = find_isa(conv, packed.shape, call.check);
  if (!call.is_valid()) return call.invalid();

  pack_all(conv, make_layout(conv, isa.tile.nr), false, kernel.data, packed.data,
           call.max_threads(), call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> conv_handlers() {
  return {{"conv_affine", handle<conv_affine>},
          {"conv_statistics", handle<conv_statistics>},
          {"pack", handle<pack>}};
}

}  // namespace resfuse
