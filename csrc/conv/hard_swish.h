// Hard swish, the one program that is compiled into the tile:
//
//   (x + offset within bounds) * factor * x,   x = scale * acc + shift
//
// Five operations are 2.5 cycles a vector of AVX-512 in registers. As a program, which goes through
// L1, they took 6 more beside a 1x1 convolution, and 13 beside a depthwise one. Of the orders of
// the products this is the one of jax.nn.hard_swish; others are programs like any.

#pragma once

#include "base/bounds.h"
#include "conv/operations.h"
#include "conv/program.h"

namespace resfuse {
namespace {

struct HardSwish {
  float offset, factor;
  Bounds bounds;
};

// Takes a program's one instruction for hard swish, if it is.
inline bool recognise(const Program& program, HardSwish& function) {
  constexpr int kAddClamp = operation_named("add_clamp");
  const Instruction& only = program.code[0];
  if (program.instructions != 1 || only.operation != kAddClamp || only.factors != 2) return false;
  const auto is_acc = [](Value value) { return !value.is_constant && value.index == 0; };
  const Value offset = only.taken[1], low = only.taken[2], high = only.taken[3];
  const Value factor = only.factor[0];
  if (!offset.is_constant || !low.is_constant || !high.is_constant || !factor.is_constant)
    return false;
  const auto number = [&](Value value) { return program.constant[value.index]; };
  function = {number(offset), number(factor), {number(low), number(high)}};
  return is_acc(only.taken[0]) && is_acc(only.factor[1]) && program.ends_in_output &&
         program.outputs == 1;
}

inline Vec hard_swish(const HardSwish& function, Vec x) {
  return add_and_bound(x, splat(function.offset), splat(function.bounds.low),
                       splat(function.bounds.high)) *
         splat(function.factor) * x;
}

}  // namespace
}  // namespace resfuse
