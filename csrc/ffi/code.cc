#include "ffi/code.h"

#include <algorithm>
#include <cstring>

namespace resfuse {
namespace {

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

int times_taken(const Code& code, int index) {
  auto count = std::count(code.outputs.begin(), code.outputs.end(), index);
  for (const Code::Line& line : code.lines) {
    const std::vector<int> taken = line.all_taken();
    if (!line.is_absorbed) count += std::count(taken.begin(), taken.end(), index);
  }
  return static_cast<int>(count);
}

// Two operations in one pass over the tile: `outer`, of which `inner` makes what it takes at
// `position`, is `both`, which takes what `inner` takes and then the others.
struct Pair {
  const char *outer, *inner, *both;
  size_t position;
};
constexpr Pair kPairs[] = {{"add", "mul", "mul_add", 0},
                           {"add", "mul", "mul_add", 1},
                           {"clamp", "add", "add_clamp", 1},
                           {"select_n", "gt", "gt_select_n", 0},
                           {"select_n", "ge", "ge_select_n", 0}};

// The line whose result `line` takes at `position`, where that serves for nothing else.
Code::Line* only_for(Code& code, const Code::Line& line, size_t position) {
  const int index = line.taken[position];
  if (index < code.first_result() || times_taken(code, index) != 1) return nullptr;
  return &code.lines[static_cast<size_t>(index - code.first_result())];
}

bool absorb_pair(Code& code, Code::Line& line, const Pair& pair) {
  if (!is_operation(line, pair.outer)) return false;
  Code::Line* const inner = only_for(code, line, pair.position);
  if (!inner || !inner->factors.empty() || !is_operation(*inner, pair.inner)) return false;
  std::vector<int> taken = inner->taken;
  for (size_t n = 0; n < line.taken.size(); ++n)
    if (n != pair.position) taken.push_back(line.taken[n]);
  inner->is_absorbed = true;
  line = {operation_named(pair.both), taken};
  return true;
}

// A product with the result of any operation, as in x * logistic(x).
bool absorb_result(Code& code, Code::Line& line, size_t position) {
  if (!is_operation(line, "mul")) return false;
  Code::Line* const result = only_for(code, line, position);
  if (!result || result->factors.size() == kMostFactors) return false;
  Code::Line product = *result;
  product.factors.push_back(line.taken[1 - position]);
  result->is_absorbed = true;
  line = product;
  return true;
}

}  // namespace

bool is_operation(const Code::Line& line, const char* name) {
  return std::strcmp(kOperations[line.operation].name, name) == 0;
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

void absorb_lines(Code& code) {
  for (Code::Line& line : code.lines) {
    if (absorb_result(code, line, 0) || absorb_result(code, line, 1)) continue;
    for (const Pair& pair : kPairs)
      if (absorb_pair(code, line, pair)) break;
  }
}

}  // namespace resfuse
