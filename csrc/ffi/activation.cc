#include "ffi/activation.h"

namespace resfuse {
namespace {

bool is_acc(Value value) { return !value.is_constant && value.index == 0; }

bool is_result(Value value, const Instruction& of) {
  return !value.is_constant && value.index == of.to;
}

bool is(const Instruction& instruction, int operation, int factors) {
  return instruction.operation == operation && instruction.factors == factors;
}

Activation hard_swish_of(const Program& program) {
  const Instruction& only = program.code[0];
  const Value offset = only.taken[1], low = only.taken[2], high = only.taken[3];
  const Value factor = only.factor[0];
  if (only.factors != 2 || !is_acc(only.factor[1])) return {};
  if (!offset.is_constant || !low.is_constant || !high.is_constant || !factor.is_constant)
    return {};
  const auto number = [&](Value value) { return program.constant[value.index]; };
  return {Activation::kHardSwish, number(offset), number(factor), {number(low), number(high)}};
}

bool is_silu(const Instruction& only) {
  return is(only, operation_named("logistic"), 1) && is_acc(only.factor[0]);
}

// jax.nn.gelu's  -acc * sqrt(0.5),  erfc of that,  acc * 0.5 * that.
bool is_gelu(const Program& program) {
  const Instruction &argument = program.code[0], &erfc = program.code[1], &last = program.code[2];
  const auto is_number = [&](Value value, float number) {
    return value.is_constant && program.constant[value.index] == number;
  };
  const bool has_argument = is(argument, operation_named("neg"), 1) && is_acc(argument.taken[0]) &&
                            is_number(argument.factor[0], 0.70710678f);
  const bool has_erfc = is(erfc, operation_named("erfc"), 0) && is_result(erfc.taken[0], argument);
  return has_argument && has_erfc && is(last, operation_named("mul"), 1) && is_acc(last.taken[0]) &&
         is_number(last.taken[1], 0.5f) && is_result(last.factor[0], erfc);
}

}  // namespace

Activation activation_of(const Program& program) {
  const bool is_simple = program.outputs == 1 && program.ends_in_output;
  const Instruction& first = program.code[0];
  if (!is_simple || !is_acc(first.taken[0])) return {};
  if (program.instructions == 3 && is_gelu(program)) return {Activation::kGelu, 0.0f, 0.0f, {}};
  if (program.instructions != 1) return {};
  if (first.operation == operation_named("add_clamp")) return hard_swish_of(program);
  return {is_silu(first) ? Activation::kSilu : Activation::kNone, 0.0f, 0.0f, {}};
}

}  // namespace resfuse
