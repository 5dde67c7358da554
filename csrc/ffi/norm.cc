// The passes of batch norm with the statistics of the batch, whose formulas are in norm.h.

#include "ffi/handler.h"
#include "norm/run_norm.h"

namespace resfuse {
namespace {

// The number of pixels and channels of an image array.
struct Extent {
  int64_t pixels, channels;
};

Extent extent_of(const Operand& image, Check& check) {
  const Shape& shape = image.shape;
  const bool images = shape.size() >= 3 && shape.size() <= 5;
  if (!check.that(images, image.name, " must have rank 3 to 5, got shape ", shape)) return {};
  check.that(shape.back() > 0, image.name, " ", shape, " has no channels");
  int64_t pixels = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
  return {pixels, shape.back()};
}

struct BoundGate {
  bool is_given;
  Gate gate;
};

// Takes the attribute `gate`: nothing, or the bits of the bounds and of `otherwise`; and
// `at_least`.
BoundGate bind_gate(Call& call) {
  const std::vector<float> numbers = call.floats("gate");
  const bool at_least = call.flag("at_least");
  if (numbers.empty()) return {false, {}};
  if (!call.check.that(numbers.size() == 3, "gate must be none or 3 numbers, got ",
                       static_cast<int64_t>(numbers.size())))
    return {true, {}};
  return {true, {{numbers[0], numbers[1]}, at_least, numbers[2]}};
}

// Takes what is given after all other operands of a backward pass: with a gate, its value.
Operand take_value(Call& call, const BoundGate& bound) {
  return bound.is_given ? call.operand("y") : Operand{"y", {}, 0, true};
}

// What both passes of the backward norm read.
struct BoundNorm {
  Operand d_y, conv, mean, y;
  Extent extent;
  Gate gate;

  Norm at(const Execution& now) const {
    return {extent.pixels,  extent.channels, now.data(d_y), now.data(conv),
            now.data(mean), now.data(y),     gate};
  }
};

BoundNorm bind_norm(Call& call, const Operand& d_y, const Operand& conv, const Operand& mean,
                    const Operand& y, const BoundGate& bound) {
  const Extent extent = extent_of(d_y, call.check);
  call.expect(conv, d_y.shape);
  call.expect(mean, {extent.channels});
  call.expect(y, d_y.shape);
  return {d_y, conv, mean, y, extent, bound.gate};
}

// (conv, mean, scale, shift[, residual]) -> y
Bound normalize(Call& call) {
  const Operand conv = call.operand("conv"), mean = call.operand("mean");
  const Operand scale = call.operand("scale"), shift = call.operand("shift");
  const Operand residual = call.optional_operand("residual");
  const Result y = call.result("y");
  const BoundGate bound = bind_gate(call);
  const Extent extent = extent_of(conv, call.check);
  for (const Operand* operand : {&mean, &scale, &shift}) call.expect(*operand, {extent.channels});
  call.expect(residual, conv.shape);
  call.expect(y, conv.shape);
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    const Gate* const gate = bound.is_given ? &bound.gate : nullptr;
    const Normalize norm{extent.pixels,   extent.channels, now.data(conv),     now.data(mean),
                         now.data(scale), now.data(shift), now.data(residual), gate};
    run_normalize(*isa, norm, now.data(y), now.max_threads(), now.schedule());
    return ffi::Error::Success();
  };
}

// (d_y, conv, mean[, y]) -> plain = sum of g, weighted = sum of g * (conv - mean)
Bound norm_sums(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const BoundGate bound = bind_gate(call);
  const Operand y = take_value(call, bound);
  const Result plain = call.result("plain"), weighted = call.result("weighted");
  const BoundNorm norm = bind_norm(call, d_y, conv, mean, y, bound);
  call.expect(plain, {norm.extent.channels});
  call.expect(weighted, {norm.extent.channels});
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    const bool done = run_norm_sums(*isa, norm.at(now), now.data(plain), now.data(weighted),
                                    now.max_threads(), now.schedule());
    return success_if(done, "sums");
  };
}

// (d_y, conv, mean, a, b, d[, y]) -> d_conv[, d_residual]
Bound norm_gradient(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const Operand a = call.operand("a"), b = call.operand("b"), d = call.operand("d");
  const BoundGate bound = bind_gate(call);
  const Operand y = take_value(call, bound);
  const Result d_conv = call.result("d_conv");
  const Result d_residual = call.optional_result("d_residual");
  const BoundNorm norm = bind_norm(call, d_y, conv, mean, y, bound);
  for (const Operand* operand : {&a, &b, &d}) call.expect(*operand, {norm.extent.channels});
  call.expect(d_conv, conv.shape);
  call.expect(d_residual, conv.shape);
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    run_norm_gradient(*isa, norm.at(now), {now.data(a), now.data(b), now.data(d)}, now.data(d_conv),
                      now.data(d_residual), now.max_threads(), now.schedule());
    return ffi::Error::Success();
  };
}

}  // namespace

std::vector<Handler> norm_handlers() {
  return {{"normalize", execute<normalize>},
          {"norm_sums", execute<norm_sums>},
          {"norm_gradient", execute<norm_gradient>}};
}

}  // namespace resfuse
