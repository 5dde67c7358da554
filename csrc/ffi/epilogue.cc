#include "ffi/epilogue.h"

#include <algorithm>
#include <cstring>

namespace resfuse {
namespace {

// Each name is that of an error, and is kept by reference.
constexpr const char* kOperandNames[] = {"operand_0", "operand_1", "operand_2", "operand_3",
                                         "operand_4", "operand_5", "operand_6", "operand_7"};
constexpr const char* kOutputNames[] = {"output_0", "output_1", "output_2", "output_3"};
static_assert(std::size(kOperandNames) == kMaxOperands && std::size(kOutputNames) == kMaxOutputs);

// Code whose instructions take registers, before these have slots.
struct Code {
  struct Line {
    int operation;
    std::vector<int> taken;
    std::vector<int> factor = {};  // one at most
    bool is_absorbed = false;      // by a later line

    std::vector<int> all_taken() const {
      std::vector<int> all = taken;
      all.insert(all.end(), factor.begin(), factor.end());
      return all;
    }
  };
  int operands, constants;
  std::vector<Line> lines;
  std::vector<int> outputs;

  int first_result() const { return 1 + operands + constants; }
  int registers() const { return first_result() + static_cast<int>(lines.size()); }
  bool is_constant(int index) const { return index > operands && index < first_result(); }
};

bool are_registers(const Shape& indices, int registers) {
  return std::all_of(indices.begin(), indices.end(),
                     [&](int64_t index) { return index >= 0 && index < registers; });
}

// Reads one instruction from `at` on, and advances it.
bool read_line(const Shape& numbers, size_t& at, Code& code, Check& check) {
  const auto line = static_cast<int64_t>(code.lines.size());
  const int64_t operation = numbers[at];
  if (!check.that(operation >= 0 && operation < kOperationCount, "instruction ", line,
                  " of code is operation ", operation, ", expected less than ",
                  int64_t{kOperationCount}))
    return false;
  const auto count = static_cast<size_t>(kOperations[operation].taken);
  if (!check.that(at + count < numbers.size(), "instruction ", line, " of code, ",
                  std::string(kOperations[operation].name), ", takes ", static_cast<int64_t>(count),
                  " registers, and code ends before"))
    return false;
  const auto first = numbers.begin() + static_cast<int64_t>(at) + 1;
  const Shape taken(first, first + static_cast<int64_t>(count));
  check.that(are_registers(taken, code.registers()), "instruction ", line,
             " of code takes the registers ", taken, ", expected less than ",
             int64_t{code.registers()});
  code.lines.push_back({static_cast<int>(operation), {taken.begin(), taken.end()}});
  at += count + 1;
  return check.passed();
}

Code read_code(Call& call, int operands, int constants) {
  Code code{operands, constants, {}, {}};
  const Shape numbers = call.integers("code"), outputs = call.integers("returned");
  for (size_t at = 0; at < numbers.size() && read_line(numbers, at, code, call.check);)
    if (!call.check.that(code.lines.size() <= kMaxInstructions, "code has more than ",
                         int64_t{kMaxInstructions}, " instructions"))
      break;
  call.check.that(
      !outputs.empty() && outputs.size() <= kMaxOutputs && are_registers(outputs, code.registers()),
      "returned must be one to ", int64_t{kMaxOutputs}, " registers below ",
      int64_t{code.registers()}, ", got ", outputs);
  code.outputs.assign(outputs.begin(), outputs.end());
  return code;
}

void bind_constants(Call& call, Program& program) {
  const Shape bits = call.integers("constants");
  const bool fit = bits.size() <= kMaxConstants;
  if (!call.check.that(fit, "got ", static_cast<int64_t>(bits.size()),
                       " constants, expected at most ", int64_t{kMaxConstants}))
    return;
  for (const int64_t each : bits) {
    call.check.that(each >= 0 && each < (int64_t{1} << 32),
                    "constants must be the bits of floats, got ", bits);
    const auto word = static_cast<uint32_t>(each);
    std::memcpy(&program.constant[program.constants++], &word, sizeof(word));
  }
}

// Its rank says what an operand has numbers for.
void bind_operands(Call& call, const Conv& conv, const Shape& output, int64_t most,
                   Program& program) {
  while (call.operands_left() > 0 && program.operands < most) {
    const Operand operand = call.operand(kOperandNames[program.operands]);
    const Per per = operand.shape.size() == 1   ? Per::kChannel
                    : operand.shape.size() == 2 ? Per::kImage
                                                : Per::kOutput;
    call.expect(operand, per == Per::kChannel ? Shape{conv.out_c}
                         : per == Per::kImage ? Shape{conv.batch, conv.out_c}
                                              : output);
    program.operand[program.operands] = {operand.data, per, 1 + program.operands};
    ++program.operands;
  }
}

// The first is `y`.
void bind_outputs(Call& call, const Shape& output, const Code& code, const Result& y,
                  Program& program) {
  for (const int index : code.outputs) {
    const int number = program.outputs;
    if (number == kMaxOutputs) return;
    const Result result = number == 0 ? y : call.result(kOutputNames[number]);
    call.expect(result, output);
    program.output[program.outputs++] = {result.data, {false, index}};
  }
}

int times_taken(const Code& code, int index) {
  auto count = std::count(code.outputs.begin(), code.outputs.end(), index);
  for (const Code::Line& line : code.lines) {
    const std::vector<int> taken = line.all_taken();
    if (!line.is_absorbed) count += std::count(taken.begin(), taken.end(), index);
  }
  return static_cast<int>(count);
}

bool is_operation(const Code::Line& line, const char* name) {
  return std::strcmp(kOperations[line.operation].name, name) == 0;
}

int operation_named(const char* name) {
  int operation = 0;
  while (std::strcmp(kOperations[operation].name, name) != 0) ++operation;
  return operation;
}

// Calls `join(line, other)` where one operand of `pair`, the result of `line`, serves for nothing
// else, until it says that it made one line of the two. It saves a pass over the tile.
template <typename Join>
void absorb(Code& code, const Code::Line& pair, Join join) {
  for (size_t n = 0; n < 2; ++n) {
    const int index = pair.taken[n], other = pair.taken[1 - n];
    if (index < code.first_result() || times_taken(code, index) != 1) continue;
    Code::Line& line = code.lines[static_cast<size_t>(index - code.first_result())];
    if (line.factor.empty() && join(line, other)) {
      line.is_absorbed = true;
      return;
    }
  }
}

// A product with the result of any operation, as in x * logistic(x), and a sum with a product.
void absorb_lines(Code& code) {
  for (Code::Line& line : code.lines) {
    const Code::Line pair = line;
    if (is_operation(pair, "mul"))
      absorb(code, pair, [&](const Code::Line& first, int factor) {
        line = {first.operation, first.taken, {factor}};
        return true;
      });
    if (is_operation(pair, "add"))
      absorb(code, pair, [&](const Code::Line& product, int summand) {
        if (!is_operation(product, "mul")) return false;
        line = {operation_named("mul_add"), {product.taken[0], product.taken[1], summand}};
        return true;
      });
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
      if (program.operand[i].per == Per::kChannel) needed_[1 + i] = lines();
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
    for (int i = 0; i < program.outputs; ++i)
      program.output[i].value = values_[program.output[i].value.index];
  }

 private:
  int lines() const { return static_cast<int>(code_.lines.size()); }

  void assign_line(int index, Program& program) {
    const Code::Line& line = code_.lines[index];
    Instruction instruction{line.operation, {}, !line.factor.empty(), {}, 0};
    for (size_t n = 0; n < line.taken.size(); ++n) instruction.taken[n] = values_[line.taken[n]];
    if (instruction.has_factor) instruction.factor = values_[line.factor[0]];
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

// Recognises relu(acc + residual), or a part of it.
void recognise(const Code& code, BoundEpilogue& bound) {
  const Program& program = bound.program;
  size_t line = 0;
  int last = 0;
  const auto next_is = [&](const char* name, int with) {
    if (line == code.lines.size() || !is(code.lines[line], name, last, with)) return false;
    last = code.first_result() + static_cast<int>(line++);
    return true;
  };
  const bool adds =
      code.operands == 1 && program.operand[0].per == Per::kOutput && next_is("add", 1);
  const bool is_zero = code.constants == 1 && program.constant[0] == 0.0f;
  bound.relu = is_zero && next_is("max", code.operands + 1);
  bound.residual = adds ? program.operand[0].data : nullptr;
  bound.is_compiled = line == code.lines.size() && code.outputs == std::vector<int>{last} &&
                      code.operands == (adds ? 1 : 0);
}

}  // namespace

BoundEpilogue bind_epilogue(Call& call, const Conv& conv, const Shape& output, const Result& y,
                            int64_t most) {
  BoundEpilogue bound{};
  const Operand scale = call.operand("scale"), shift = call.operand("shift");
  call.expect(scale, {conv.out_c});
  call.expect(shift, {conv.out_c});
  bound.scale = scale.data, bound.shift = shift.data;
  Program& program = bound.program;
  bind_operands(call, conv, output, std::clamp<int64_t>(most, 0, kMaxOperands), program);
  bind_constants(call, program);
  Code code = read_code(call, program.operands, program.constants);
  bind_outputs(call, output, code, y, program);
  if (!call.check.passed()) return bound;
  recognise(code, bound);
  absorb_lines(code);
  Slots(code, program).assign(program);
  return bound;
}

}  // namespace resfuse
