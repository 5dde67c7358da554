// The convolution in inference and in training, and the packing of its weights.

#include <memory>
#include <new>

#include "conv/join.h"
#include "conv/run.h"
#include "ffi/epilogue.h"
#include "ffi/handler.h"
#include "ffi/prologue.h"
#include "norm/statistics.h"

namespace resfuse {
namespace {

ffi::Error run_jobs(Execution& now, const Isa& isa, const Jobs& jobs, const Operands& operands) {
  return success_if(run(isa, jobs, operands, now.schedule()), "packed weights or scratch");
}

// The images of a call, joined where its algorithm does not read parts.
class Joined {
 public:
  Joined(const Prologue& prologue, int64_t floats, int64_t channels, Execution& now)
      : lease_(Lease::shared(static_cast<size_t>(floats) * sizeof(float))) {
    if (floats > 0 && data())
      join_parts(prologue, floats / channels, channels, now.max_threads(), now.schedule(), data());
  }

  float* data() const { return reinterpret_cast<float*>(lease_.data()); }

 private:
  const Lease lease_;
};

// (x, parts..., [prologue_scale, prologue_shift], kernel, scale, shift, operands...)
// -> (y, outputs...). `packed` is the shape of a kernel that came packed, and otherwise empty.
Bound conv_affine(Call& call) {
  const BoundImages images = bind_images(call);
  const Operand kernel = call.operand("kernel");
  const Result y = call.result("y");
  const Shape packed = call.integers("packed");
  const bool is_packed = !packed.empty();
  const auto [conv, choice, output] =
      bind_conv(call, images.shape, is_packed ? packed : kernel.shape);
  const Settings& settings = call.settings;
  const Weights weights = bind_weights(call, kernel, conv, is_packed);
  const Isa& isa = *weights.isa;
  check_prologue(images, conv, call.check);
  call.expect(y, output);
  const BoundEpilogue ending = bind_epilogue(call, conv, weights, output, y);
  if (!call.is_valid()) return {};

  const Jobs jobs = make_jobs(conv, false, isa.tile, *settings.machine,
                              {choice, is_packed, false, settings.threads, images.kind(conv)});
  const bool joins = !images.are_read_apart(jobs, isa.tile);
  const int64_t joined_floats = joins ? conv.in_floats() : 0;
  return [=, &isa](Execution& now) {
    const Epilogue epilogue = ending.at(now);
    const Prologue prologue = images.at(now);
    const Joined joined(prologue, joined_floats, conv.in_c, now);
    if (joined_floats > 0 && !joined.data()) return success_if(false, "the images side by side");
    const float* const x = joins ? joined.data() : prologue.part[0].data;
    const Prologue* const before = images.has_prologue && !joins ? &prologue : nullptr;
    return run_jobs(now, isa, jobs,
                    {x, now.data(weights.kernel), now.data(y), &epilogue, nullptr, before});
  };
}

// (x, kernel) -> y, mean, var. Where these have fewer channels than y, every so many of y's count
// as one (kernel/fold.py).
Bound conv_statistics(Call& call) {
  const Operand x = call.operand("x"), kernel = call.operand("kernel");
  const Result y = call.result("y"), mean = call.result("mean"), var = call.result("var");
  const auto [conv, choice, output] = bind_conv(call, x.shape, kernel.shape);
  call.expect(y, output);
  const int64_t channels = mean.shape.size() == 1 ? mean.shape[0] : 0;
  call.check.that(channels > 0 && conv.out_c % channels == 0, "mean has shape ", mean.shape,
                  ", expected a number that divides ", conv.out_c);
  call.expect(var, mean.shape);
  if (!call.is_valid()) return {};

  const Settings& settings = call.settings;
  const Isa& isa = *settings.isa;
  const Jobs jobs =
      make_jobs(conv, false, isa.tile, *settings.machine, {choice, false, true, settings.threads});
  return [=, &isa](Execution& now) {
    const int64_t blocks = jobs.blocks(), out_c = jobs.conv.out_c;
    const std::unique_ptr<double[]> moments(
        new (std::nothrow) double[static_cast<size_t>(blocks * 3 * out_c)]);
    if (!moments) return success_if(false, "the statistics");
    const ffi::Error error = run_jobs(
        now, isa, jobs, {now.data(x), now.data(kernel), now.data(y), nullptr, moments.get()});
    if (error.success())
      combine_statistics(moments.get(), blocks, out_c, channels, now.data(mean), now.data(var));
    return error;
  };
}

// (kernel) -> packed, in the order of the instruction set whose shape that is.
Bound pack(Call& call) {
  const Operand kernel = call.operand("kernel");
  const Result packed = call.result("packed");
  const Geometry geometry{{},
                          {},
                          call.integers("image_dilation"),
                          call.integers("window_dilation"),
                          call.integer("groups")};
  const PackCall weights =
      bind_pack(*call.settings.isa, kernel.shape, geometry, packed.shape, call.check);
  if (!call.is_valid()) return {};

  return [=](Execution& now) {
    pack_all(weights.conv, weights.layout, false, now.data(kernel), now.data(packed),
             now.max_threads(), now.schedule());
    return ffi::Error::Success();
  };
}

// () -> an array of any numbers, which portions are written into.
Bound empty(Call& call) {
  call.result("y");
  if (!call.is_valid()) return {};
  return [](Execution&) { return ffi::Error::Success(); };
}

}  // namespace

std::vector<Handler> conv_handlers() {
  return {{"conv_affine", execute<conv_affine>},
          {"conv_statistics", execute<conv_statistics>},
          {"pack", execute<pack>},
          {"empty", execute<empty>}};
}

}  // namespace resfuse
