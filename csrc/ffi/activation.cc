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

// Reads the instructions of one program.
class Reader {
 public:
  explicit Reader(const Program& program) : program_(program) {}

  // jax.nn.gelu's  -acc * sqrt(0.5),  erfc of that,  acc * 0.5 * that.
  bool is_gelu() const {
    const Instruction &argument = at(0), &erfc = at(1), &last = at(2);
    return is(argument, operation_named("neg"), 1) && is_acc(argument.taken[0]) &&
           is_number(argument.factor[0], 0.70710678f) && is(erfc, operation_named("erfc"), 0) &&
           is_result(erfc.taken[0], argument) && is(last, operation_named("mul"), 1) &&
           is_acc(last.taken[0]) && is_number(last.taken[1], 0.5f) &&
           is_result(last.factor[0], erfc);
  }

  // Its approximation's  acc * acc * acc * 0.044715,  (acc + that) * sqrt(2 / pi),  tanh of that,
  // (1 + that) * 0.5 * acc.
  bool is_gelu_by_tanh() const {
    const Instruction &cube = at(0), &argument = at(1), &tanh = at(2), &last = at(3);
    const bool has_cube = is(cube, operation_named("mul"), 2) && is_acc(cube.taken[0]) &&
                          is_acc(cube.taken[1]) && is_acc(cube.factor[0]) &&
                          is_number(cube.factor[1], 0.044715f);
    const bool has_argument = is(argument, operation_named("add"), 1) &&
                              is_acc(argument.taken[0]) && is_result(argument.taken[1], cube) &&
                              is_number(argument.factor[0], 0.797884583f);
    return has_cube && has_argument && is(tanh, operation_named("tanh"), 0) &&
           is_result(tanh.taken[0], argument) && is(last, operation_named("add"), 2) &&
           is_number(last.taken[0], 1.0f) && is_result(last.taken[1], tanh) &&
           is_number(last.factor[0], 0.5f) && is_acc(last.factor[1]);
  }

 private:
  const Instruction& at(int index) const { return program_.code[index]; }

  bool is_number(Value value, float number) const {
    return value.is_constant && program_.constant[value.index] == number;
  }

  const Program& program_;
};

}  // namespace

Activation activation_of(const Program& program) {
  const auto one_of = [](bool is_one, Activation::Kind kind) {
    return Activation{is_one ? kind : Activation::kNone, 0.0f, 0.0f, {}};
  };
  const Instruction& first = program.code[0];
  if (program.outputs != 1 || !program.ends_in_output || !is_acc(first.taken[0])) return {};
  switch (program.instructions) {
    case 1:
      if (first.operation == operation_named("add_clamp")) return hard_swish_of(program);
      return one_of(is_silu(first), Activation::kSilu);
    case 3:
      return one_of(Reader(program).is_gelu(), Activation::kGelu);
    case 4:
      return one_of(Reader(program).is_gelu_by_tanh(), Activation::kGeluByTanh);
    default:
      return {};
  }
}

}  // namespace resfuse
