// The activations that are compiled, and not run as programs (ffi/activation.h recognises them):
//
//   hard swish   (x + offset within bounds) * factor * x,   x = scale * acc + shift
//   SiLU         x * logistic(x)
//   GELU         x * erfc(-x * sqrt(0.5)) * 0.5, or by tanh
//
// Hard swish ends in registers: its five operations are 2.5 cycles a vector of AVX-512. As a
// program, which goes through L1, they took 6 more beside a 1x1 convolution, and 13 beside a
// depthwise one. Of the orders of the products this is the one of jax.nn.hard_swish; others are
// programs like any. SiLU's 17 operations go through L1, in one loop for all tiles: compiled into
// each they took as long, and a fifth of all code more. As a program they took 3 cycles more. GELU
// does as SiLU: three instructions, whose erfc knows nothing of the others, took 15 cycles more.

#pragma once

#include "conv/operations.h"
#include "conv/program.h"

namespace resfuse {
namespace {

inline Vec hard_swish(const Activation& activation, Vec x) {
  return add_and_bound(x, splat(activation.offset), splat(activation.bounds.low),
                       splat(activation.bounds.high)) *
         splat(activation.factor) * x;
}

}  // namespace
}  // namespace resfuse
