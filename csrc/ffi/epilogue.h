// The epilogue of a call: from attributes, operands and results, as a program states them, to a
// Program, or to what is compiled into the register tile.

#pragma once

#include "conv/conv.h"
#include "conv/program.h"
#include "ffi/execution.h"

namespace resfuse {

struct BoundEpilogue {
  Operand scale, shift;
  std::vector<Operand> operands;
  std::vector<Result> outputs;
  Bounds bounds;
  bool is_compiled;  // of operands it has a residual at most
  Program program;

  // The epilogue of an execution, which points to the program here.
  Epilogue at(const Execution& now) const;
};

// Takes `most` operands behind scale and shift, all of them by default, all results after `y`, and
// the attributes
//
//   code       for each instruction its operation, as operations.inc numbers them, and the
//   registers
//              that it takes: 0 is the accumulator, then come the operands, the constants, and the
//              results so far
//   constants  the bits of each as a float
//   returned   the register of each result
//
// Tensors have the shape `output`. What it returns is meaningless unless the call is valid.
BoundEpilogue bind_epilogue(Call& call, const Conv& conv, const Weights& weights,
                            const Shape& output, const Result& y, int64_t most = kMaxOperands);

}  // namespace resfuse
