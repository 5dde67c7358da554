#include "ffi/epilogue.h"

#include <algorithm>

#include "ffi/activation.h"
#include "ffi/code.h"

namespace resfuse {
namespace {

// Each name is that of an error, and is kept by reference.
constexpr const char* kOperandNames[] = {"operand_0", "operand_1", "operand_2", "operand_3",
                                         "operand_4", "operand_5", "operand_6", "operand_7"};
constexpr const char* kOutputNames[] = {"output_0", "output_1", "output_2", "output_3"};
static_assert(std::size(kOperandNames) == kMaxOperands && std::size(kOutputNames) == kMaxOutputs);

void bind_constants(Call& call, Program& program) {
  const std::vector<float> constants = call.floats("constants");
  const auto count = static_cast<int64_t>(constants.size());
  if (!call.check.that(count <= kMaxConstants, "got ", count, " constants, expected at most ",
                       int64_t{kMaxConstants}))
    return;
  program.constants = static_cast<int>(count);
  std::copy(constants.begin(), constants.end(), program.constant);
}

// Its rank says what an operand has numbers for.
void bind_operands(Call& call, const Conv& conv, const Shape& output, int64_t most,
                   BoundEpilogue& bound) {
  Program& program = bound.program;
  while (call.operands_left() > 0 && program.operands < most) {
    const Operand operand = call.operand(kOperandNames[program.operands]);
    const Per per = operand.shape.size() == 1   ? Per::kChannel
                    : operand.shape.size() == 2 ? Per::kImage
                                                : Per::kOutput;
    call.expect(operand, per == Per::kChannel ? Shape{conv.out_c}
                         : per == Per::kImage ? Shape{conv.batch, conv.out_c}
                                              : output);
    bound.operands.push_back(operand);
    program.operand[program.operands++] = per;
  }
}

// The first is `y`.
void bind_outputs(Call& call, const Shape& output, const Code& code, const Result& y,
                  BoundEpilogue& bound) {
  Program& program = bound.program;
  for (const int index : code.outputs) {
    const int number = program.outputs;
    if (number == kMaxOutputs) return;
    const Result result = number == 0 ? y : call.result(kOutputNames[number]);
    call.expect(result, output);
    bound.outputs.push_back(result);
    program.output[program.outputs++] = {false, index};
  }
}

// Gives each result a slot, once nobody needs what was there.
class Slots {
 public:
  Slots(const Code& code, const Program& program) : code_(code), needed_(code.registers(), 0) {
    for (int line = 0; line < lines(); ++line)
      for (const int index : code.lines[line].all_taken())
        if (!code.lines[line].is_absorbed) needed_[index] = line;
    for (const int index : code.outputs) needed_[index] = lines();
    // What is the same for all pixels is written once.
    for (int i = 0; i < program.operands; ++i)
      if (program.operand[i] == Per::kChannel) needed_[1 + i] = lines();
    for (int index = 0; index < code.first_result(); ++index)
      values_.push_back(code.is_constant(index) ? Value{true, index - code.operands - 1}
                                                : Value{false, index});
  }

  void assign(Program& program) {
    for (int line = 0; line < lines(); ++line) {
      values_.push_back({});
      if (!code_.lines[line].is_absorbed) assign_line(line, program);
    }
    const auto& outputs = code_.outputs;
    program.ends_in_output = lines() > 0 && outputs[0] == code_.registers() - 1 &&
                             std::count(outputs.begin(), outputs.end(), outputs[0]) == 1;
    for (int i = 0; i < program.outputs; ++i) program.output[i] = values_[program.output[i].index];
  }

 private:
  int lines() const { return static_cast<int>(code_.lines.size()); }

  void assign_line(int index, Program& program) {
    const Code::Line& line = code_.lines[index];
    Instruction instruction{line.operation, {}, static_cast<int>(line.factors.size()), {}, 0};
    for (size_t n = 0; n < line.taken.size(); ++n) instruction.taken[n] = values_[line.taken[n]];
    for (size_t n = 0; n < line.factors.size(); ++n)
      instruction.factor[n] = values_[line.factors[n]];
    release(index);
    instruction.to = take();
    values_.back() = {false, instruction.to};
    program.code[program.instructions++] = instruction;
  }

  // An instruction may write where it reads: each vector is read before it is written.
  void release(int line) {
    for (const int index : code_.lines[line].all_taken()) {
      if (code_.is_constant(index) || needed_[index] != line) continue;
      needed_[index] = -1;
      free_.push_back(values_[index].index);
    }
  }

  int take() {
    if (free_.empty()) return next_++;
    const int slot = free_.back();
    free_.pop_back();
    return slot;
  }

  const Code& code_;
  std::vector<int> needed_;  // the last line that takes each register
  std::vector<Value> values_;
  std::vector<int> free_;
  int next_ = 1 + code_.operands;
};

bool is(const Code::Line& line, const char* name, int a, int b) {
  const std::vector<int> one{a, b}, other{b, a};
  return is_operation(line, name) && (line.taken == one || line.taken == other);
}

// What the line does to the register `value`, if it bounds it by constants.
Bounds bounds_by(const Code& code, const Program& program, const Code::Line& line, int value) {
  const auto number = [&](int index) {
    return code.is_constant(index) ? program.constant[index - code.operands - 1] : kUnbounded;
  };
  const std::vector<int>& taken = line.taken;
  if (is_operation(line, "max") && taken[0] == value) return {number(taken[1]), kUnbounded};
  if (is_operation(line, "max") && taken[1] == value) return {number(taken[0]), kUnbounded};
  if (is_operation(line, "clamp") && taken[1] == value) return {number(taken[0]), number(taken[2])};
  return kNoBounds;
}

// Recognises acc + residual within bounds, or a part of it.
void recognise(const Code& code, BoundEpilogue& bound) {
  const Program& program = bound.program;
  size_t line = 0;
  int last = 0;
  const auto advance = [&] { last = code.first_result() + static_cast<int>(line++); };
  const auto is_left = [&] { return line < code.lines.size(); };
  const bool adds = code.operands == 1 && program.operand[0] == Per::kOutput && is_left() &&
                    is(code.lines[line], "add", last, 1);
  if (adds) advance();
  bound.bounds = is_left() ? bounds_by(code, program, code.lines[line], last) : kNoBounds;
  if (is_bound(bound.bounds.low)) advance();
  bound.is_compiled =
      !is_left() && code.outputs == std::vector<int>{last} && code.operands == (adds ? 1 : 0);
}

}  // namespace

Epilogue BoundEpilogue::at(const Execution& now) const {
  Epilogue epilogue{now.data(scale), now.data(shift), nullptr, bounds, nullptr};
  if (is_compiled) {
    epilogue.residual = operands.empty() ? nullptr : now.data(operands[0]);
    return epilogue;
  }
  epilogue.program = &program;
  for (size_t i = 0; i < operands.size(); ++i) epilogue.operand[i] = now.data(operands[i]);
  for (size_t i = 0; i < outputs.size(); ++i) epilogue.output[i] = now.data(outputs[i]);
  return epilogue;
}

BoundEpilogue bind_epilogue(Call& call, const Conv& conv, const Weights& weights,
                            const Shape& output, const Result& y, int64_t most) {
  BoundEpilogue bound{};
  bound.scale = weights.scale, bound.shift = weights.shift;
  call.expect(bound.scale, {conv.out_c});
  call.expect(bound.shift, {conv.out_c});
  Program& program = bound.program;
  bind_operands(call, conv, output, std::clamp<int64_t>(most, 0, kMaxOperands), bound);
  bind_constants(call, program);
  Code code = read_code(call, program.operands, program.constants);
  bind_outputs(call, output, code, y, bound);
  if (!call.check.passed()) return bound;
  recognise(code, bound);
  absorb_lines(code);
  Slots(code, program).assign(program);
  program.activation = activation_of(program);
  return bound;
}

}  // namespace resfuse
