// Straight-line code that ends a convolution: plain data. Its values are a register tile each, of
// outputs, operands or results; a value's slot is where the tile lies in a thread's scratch.
//
//   slot 0 = scale * acc + shift, then for each instruction
//   slot to = operation(slots and constants it takes) [* factor [* factor]]

#pragma once

#include <cstdint>

#include "base/bounds.h"

namespace resfuse {

// As resfuse/kernel/program.py has them.
constexpr int kMaxOperands = 8;
constexpr int kMaxInstructions = 48;
constexpr int kMaxOutputs = 4;
// An instruction takes at most two besides its mask or number, and each output may be one.
constexpr int kMaxConstants = 2 * kMaxInstructions + kMaxOutputs;
constexpr int kMaxSlots = 1 + kMaxOperands + kMaxInstructions;
constexpr int kMostTaken = 4;    // by an instruction
constexpr int kMostFactors = 2;  // of an instruction

// What an operand has a number for.
enum class Per {
  kChannel,  // (out_c,)
  kImage,    // (batch, out_c)
  kOutput,   // the shape of the output
};

// A slot's numbers, or one number for all.
struct Value {
  bool is_constant;
  int index;
};

struct Instruction {
  int operation;  // in operations.inc
  Value taken[kMostTaken];
  int factors;
  Value factor[kMostFactors];
  int to;  // a slot
};

// Of a program that is compiled (activations.h), by which it ends in place of its code.
struct Activation {
  enum Kind { kNone, kHardSwish, kSilu, kGelu, kGeluByTanh };
  Kind kind;
  float offset, factor;  // of hard swish
  Bounds bounds;
};

struct Program {
  int operands, constants, instructions, outputs;
  Per operand[kMaxOperands];  // the first is in slot 1, and so on
  float constant[kMaxConstants];
  Instruction code[kMaxInstructions];
  bool ends_in_output;  // whether the last instruction's result is the first output, and no more
  Value output[kMaxOutputs];
  Activation activation;
};

struct OperationInfo {
  const char* name;
  int taken;
};

constexpr OperationInfo kOperations[] = {
#define RESFUSE_OPERATION(name, taken, function) {name, taken},
#include "conv/operations.inc"
#undef RESFUSE_OPERATION
};
constexpr int kOperationCount = sizeof(kOperations) / sizeof(kOperations[0]);

namespace {

constexpr bool are_equal(const char* a, const char* b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

// The operation of that name, which exists.
constexpr int operation_named(const char* name) {
  int operation = 0;
  while (!are_equal(kOperations[operation].name, name)) ++operation;
  return operation;
}

}  // namespace

}  // namespace resfuse
