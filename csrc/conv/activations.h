// The activations that are compiled, and not run as programs:
//
//   hard swish   (x + offset within bounds) * factor * x,   x = scale * acc + shift
//   SiLU         x * logistic(x)
//
// Hard swish ends in registers: its five operations are 2.5 cycles a vector of AVX-512. As a
// program, which goes through L1, they took 6 more beside a 1x1 convolution, and 13 beside a
// depthwise one. Of the orders of the products this is the one of jax.nn.hard_swish; others are
// programs like any. SiLU's 17 operations go through L1, in one loop for all tiles: compiled into
// each they took as long, and a fifth of all code more. As a program they took 3 cycles more.

#pragma once

#include "base/bounds.h"
#include "conv/operations.h"
#include "conv/program.h"

namespace resfuse {
namespace {

struct Activation {
  enum Kind { kNone, kHardSwish, kSilu };
  Kind kind = kNone;
  float offset = 0.0f, factor = 0.0f;  // of hard swish
  Bounds bounds = {};
};

inline bool is_acc(Value value) { return !value.is_constant && value.index == 0; }

inline Activation hard_swish_of(const Program& program) {
  const Instruction& only = program.code[0];
  const Value offset = only.taken[1], low = only.taken[2], high = only.taken[3];
  const Value factor = only.factor[0];
  if (only.factors != 2 || !is_acc(only.factor[1])) return {};
  if (!offset.is_constant || !low.is_constant || !high.is_constant || !factor.is_constant)
    return {};
  const auto number = [&](Value value) { return program.constant[value.index]; };
  return {Activation::kHardSwish, number(offset), number(factor), {number(low), number(high)}};
}

inline Activation silu_of(const Program& program) {
  const Instruction& only = program.code[0];
  if (only.factors != 1 || !is_acc(only.factor[0])) return {};
  return {Activation::kSilu};
}

// The activation that a program's one instruction is, if it is one.
inline Activation activation_of(const Program& program) {
  constexpr int kAddClamp = operation_named("add_clamp"), kLogistic = operation_named("logistic");
  const Instruction& only = program.code[0];
  const bool is_simple =
      program.instructions == 1 && program.outputs == 1 && program.ends_in_output;
  if (!is_simple || !is_acc(only.taken[0])) return {};
  if (only.operation == kAddClamp) return hard_swish_of(program);
  return only.operation == kLogistic ? silu_of(program) : Activation{};
}

inline Vec hard_swish(const Activation& activation, Vec x) {
  return add_and_bound(x, splat(activation.offset), splat(activation.bounds.low),
                       splat(activation.bounds.high)) *
         splat(activation.factor) * x;
}

}  // namespace
}  // namespace resfuse
