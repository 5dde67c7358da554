// The convolution in inference and in training, and the packing of its weights.

#include <memory>
#include <new>

#include "conv/run.h"
#include "ffi/call.h"
#include "ffi/epilogue.h"
#include "norm/statistics.h"

namespace resfuse {
namespace {

ffi::Error run_job(Call& call, const Isa& isa, const Job& job) {
  return success_if(run(isa, job, call.schedule()), "packed weights or scratch");
}

// (x, kernel, scale, shift, operands...) -> (y, outputs...). `packed` is the shape of a kernel that
// came packed, and otherwise empty.
ffi::Error conv_affine(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel");
  const Result y = call.result("y");
  const Shape packed = call.integers("packed");
  const bool is_packed = !packed.empty();
  const auto [conv, choice] = bind_conv(call, x.shape, is_packed ? packed : kernel.shape);
  const Isa& isa = is_packed ? find_isa(conv, kernel.shape, call.check) : isa_in_use();
  call.expect(y, output_shape(conv));
  const BoundEpilogue bound = bind_epilogue(call, conv, y);
  if (!call.is_valid()) return call.invalid();

  const Epilogue epilogue = bound.epilogue();
  Job job{
      conv,
      make_plan(conv, isa.tile, machine_in_use(), {choice, is_packed, false, call.max_threads()}),
      {}};
  job.operands = {x.data, kernel.data, y.data, &epilogue};
  return run_job(call, isa, job);
}

// (x, kernel) -> y, mean, var
ffi::Error conv_statistics(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel");
  const Result y = call.result("y"), mean = call.result("mean"), var = call.result("var");
  const auto [conv, choice] = bind_conv(call, x.shape, kernel.shape);
  call.expect(y, output_shape(conv));
  call.expect(mean, {conv.out_c});
  call.expect(var, {conv.out_c});
  if (!call.is_valid()) return call.invalid();

  const Isa& isa = isa_in_use();
  Job job{conv,
          make_plan(conv, isa.tile, machine_in_use(), {choice, false, true, call.max_threads()}),
          {}};
  const std::unique_ptr<double[]> moments(
      new (std::nothrow) double[static_cast<size_t>(job.plan.blocks.count * 3 * conv.out_c)]);
  if (!moments) return success_if(false, "the statistics");
  job.operands = {x.data, kernel.data, y.data, nullptr, moments.get()};
  const ffi::Error error = run_job(call, isa, job);
  if (error.success())
    combine_statistics(moments.get(), job.plan.blocks.count, conv.out_c, mean.data, var.data);
  return error;
}

// (kernel) -> packed, in the order of the instruction set whose shape that is.
ffi::Error pack(Call& call) {
  const Operand kernel = call.operand("kernel");
  const Result packed = call.result("packed");
  const Conv conv = make_pixel_conv(kernel.shape, call.integer("groups"), call.check);
  const Isa& isa = find_isa(conv, packed.shape, call.check);
  if (!call.is_valid()) return call.invalid();

  const Layout layout = make_layout(conv, isa.tile.nr);
  const auto pack_one = [&](int64_t panel, float* to) {
    pack_panel(conv, layout, kernel.data, panel, to);
  };
  pack_all(layout, packed.data, pack_one, call.max_threads(), call.schedule());
  return ffi::Error::Success();
}

}  // namespace

std::vector<Handler> conv_handlers() {
  return {{"conv_affine", handle<conv_affine>},
          {"conv_statistics", handle<conv_statistics>},
          {"pack", handle<pack>}};
}

}  // namespace resfuse
