// The passes of batch norm with the statistics of the batch, whose formulas are in norm.h; layer
// norm and group norm.

#include <algorithm>

#include "ffi/handler.h"
#include "norm/run_group_norm.h"

namespace resfuse {
namespace {

// The number of pixels and channels of an image array.
struct Extent {
  int64_t pixels, channels;
};

// Of arrays of rank `least` to `most`.
Extent extent_of(const Operand& image, Check& check, size_t least = 3, size_t most = 5) {
  const Shape& shape = image.shape;
  const bool images = shape.size() >= least && shape.size() <= most;
  if (!check.that(images, image.name, " must have rank ", static_cast<int64_t>(least), " to ",
                  static_cast<int64_t>(most), ", got shape ", shape))
    return {};
  check.that(shape.back() > 0, image.name, " ", shape, " has no channels");
  int64_t pixels = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
  return {pixels, shape.back()};
}

// What follows the norm: a gate, SiLU, or neither.
struct Ending {
  bool has_gate, silu;
  Gate gate;

  const Gate* gate_or_null() const { return has_gate ? &gate : nullptr; }
};

// Takes the attributes `gate`: nothing, or the bits of the bounds and of `otherwise`; `at_least`;
// and `silu`.
Ending bind_ending(Call& call) {
  const std::vector<float> numbers = call.floats("gate");
  const bool at_least = call.flag("at_least"), silu = call.flag("silu");
  if (numbers.empty()) return {false, silu, {}};
  call.check.that(!silu, "silu must be false beside a gate");
  if (!call.check.that(numbers.size() == 3, "gate must be none or 3 numbers, got ",
                       static_cast<int64_t>(numbers.size())))
    return {true, silu, {}};
  return {true, silu, {{numbers[0], numbers[1]}, at_least, numbers[2]}};
}

// What is given after all other operands of a backward pass with an ending: y behind a residual,
// else what z is computed again by.
struct Saved {
  Operand y, scale, shift;
};

Saved take_saved(Call& call, const Ending& ending) {
  const bool has_y = ending.has_gate && call.operands_left() == 1;
  const bool has_argument = ending.silu || (ending.has_gate && !has_y);
  return {call.operand_if(has_y, "y"), call.operand_if(has_argument, "scale"),
          call.operand_if(has_argument, "shift")};
}

// What both passes of the backward norm read.
struct BoundNorm {
  Operand d_y, conv, mean;
  Saved saved;
  Extent extent;
  Ending ending;

  Norm at(const Execution& now) const {
    return {extent.pixels,         extent.channels,       now.data(d_y),
            now.data(conv),        now.data(mean),        now.data(saved.y),
            now.data(saved.scale), now.data(saved.shift), ending.gate_or_null()};
  }
};

BoundNorm bind_norm(Call& call, const Operand& d_y, const Operand& conv, const Operand& mean,
                    const Saved& saved, const Ending& ending) {
  const Extent extent = extent_of(d_y, call.check);
  call.expect(conv, d_y.shape);
  call.expect(saved.y, d_y.shape);
  for (const Operand* each : {&mean, &saved.scale, &saved.shift})
    call.expect(*each, {extent.channels});
  return {d_y, conv, mean, saved, extent, ending};
}

// (conv, mean, scale, shift[, residual]) -> y, or, in the backward pass, y once more, from
// (conv, mean, scale, shift, after). `after` is not read: by it XLA neither takes the two for one,
// and keeps the first, nor computes the second too early.
Bound bind_normalize(Call& call, bool again) {
  const Operand conv = call.operand("conv"), mean = call.operand("mean");
  const Operand scale = call.operand("scale"), shift = call.operand("shift");
  call.operand_if(again, "after");
  const Operand residual =
      again ? call.operand_if(false, "residual") : call.optional_operand("residual");
  const Result y = call.result("y");
  const Ending ending = bind_ending(call);
  const Extent extent = extent_of(conv, call.check);
  for (const Operand* operand : {&mean, &scale, &shift}) call.expect(*operand, {extent.channels});
  call.expect(residual, conv.shape);
  call.expect(y, conv.shape);
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    const Normalize norm{extent.pixels,      extent.channels,       now.data(conv),
                         now.data(mean),     now.data(scale),       now.data(shift),
                         now.data(residual), ending.gate_or_null(), ending.silu};
    run_normalize(*isa, norm, now.data(y), now.max_threads(), now.schedule());
    return ffi::Error::Success();
  };
}

Bound normalize(Call& call) { return bind_normalize(call, false); }
Bound normalize_again(Call& call) { return bind_normalize(call, true); }

// (d_y, conv, mean[, y | , scale, shift]) -> plain = sum of g, weighted = sum of g * (conv - mean)
Bound norm_sums(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const Ending ending = bind_ending(call);
  const Saved saved = take_saved(call, ending);
  const Result plain = call.result("plain"), weighted = call.result("weighted");
  const BoundNorm norm = bind_norm(call, d_y, conv, mean, saved, ending);
  call.expect(plain, {norm.extent.channels});
  call.expect(weighted, {norm.extent.channels});
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    const bool done = run_norm_sums(*isa, norm.at(now), now.data(plain), now.data(weighted),
                                    now.max_threads(), now.schedule());
    return success_if(done, "sums");
  };
}

// (d_y, conv, mean, a, b, d[, y | , scale, shift]) -> d_conv[, d_residual]
Bound norm_gradient(Call& call) {
  const Operand d_y = call.operand("d_y"), conv = call.operand("conv"), mean = call.operand("mean");
  const Operand a = call.operand("a"), b = call.operand("b"), d = call.operand("d");
  const Ending ending = bind_ending(call);
  const Saved saved = take_saved(call, ending);
  const Result d_conv = call.result("d_conv");
  const Result d_residual = call.optional_result("d_residual");
  const BoundNorm norm = bind_norm(call, d_y, conv, mean, saved, ending);
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

// What layer norm and group norm take alike: (x, scale, shift) -> y.
struct BoundImageNorm {
  Operand x, scale, shift;
  Result y;
  float epsilon;
  Extent extent;
};

BoundImageNorm bind_image_norm(Call& call, size_t least_rank, size_t most_rank) {
  const Operand x = call.operand("x"), scale = call.operand("scale"), shift = call.operand("shift");
  const Result y = call.result("y");
  const std::vector<float> epsilon = call.floats("epsilon");
  const bool one = call.check.that(epsilon.size() == 1, "epsilon must be one number, got ",
                                   static_cast<int64_t>(epsilon.size()));
  const Extent extent = extent_of(x, call.check, least_rank, most_rank);
  for (const Operand* operand : {&scale, &shift}) call.expect(*operand, {extent.channels});
  call.expect(y, x.shape);
  return {x, scale, shift, y, one ? epsilon.front() : 0.0f, extent};
}

Bound layer_norm(Call& call) {
  constexpr size_t kMaxRank = 16;
  const BoundImageNorm of = bind_image_norm(call, 2, kMaxRank);
  const bool centred = call.flag("centred");
  if (!call.is_valid()) return {};
  return [=, isa = call.settings.isa](Execution& now) {
    const LayerNorm norm{of.extent.pixels,   of.extent.channels, now.data(of.x), now.data(of.scale),
                         now.data(of.shift), of.epsilon,         centred};
    run_layer_norm(*isa, norm, now.data(of.y), now.max_threads(), now.schedule());
    return ffi::Error::Success();
  };
}

Bound group_norm(Call& call) {
  const BoundImageNorm of = bind_image_norm(call, 3, 5);
  const int64_t groups = call.integer("groups");
  const Ending ending = bind_ending(call);
  call.check.that(groups > 0 && of.extent.channels % std::max<int64_t>(groups, 1) == 0,
                  "groups=", groups, " do not fit x ", of.x.shape);
  if (!call.is_valid()) return {};
  const int64_t batch = of.x.shape.front(), pixels = batch > 0 ? of.extent.pixels / batch : 0;
  return [=, isa = call.settings.isa](Execution& now) {
    const GroupNorm norm{batch,
                         pixels,
                         of.extent.channels,
                         groups,
                         now.data(of.x),
                         now.data(of.scale),
                         now.data(of.shift),
                         of.epsilon,
                         ending.gate_or_null(),
                         ending.silu};
    return success_if(run_group_norm(*isa, norm, now.data(of.y), now.max_threads(), now.schedule()),
                      "sums");
  };
}

}  // namespace

std::vector<Handler> norm_handlers() {
  return {{"normalize", execute<normalize>},   {"normalize_again", execute<normalize_again>},
          {"norm_sums", execute<norm_sums>},   {"norm_gradient", execute<norm_gradient>},
          {"layer_norm", execute<layer_norm>}, {"group_norm", execute<group_norm>}};
}

}  // namespace resfuse
