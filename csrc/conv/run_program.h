// Runs a program on a register tile at a time: each instruction is one loop over the tile's
// vectors, which lie in L1, so what it costs to choose the loop is paid once a tile.

#pragma once

#include "conv/operations.h"
#include "conv/program.h"
#include "conv/tile_shape.h"

namespace resfuse {
namespace {

// Where an instruction finds its vectors: `step` floats apart, 0 for a constant.
struct Source {
  const float* at;
  int64_t step;

  Vec operator[](int64_t index) const { return load(at + index * step); }
};

// Where an instruction leaves its vectors: side by side, or for the last, which has the output
// itself for its target, one or two in a row that begins at to + rows[row].
struct Target {
  float* to;
  const int64_t* rows;  // or null
  int64_t vectors;
};

// Writes so many rows of results, each times a factor where there are factors.
using Loop = void (*)(Target target, const Source* from, Source factor, int64_t rows);

template <bool has_factor, typename Result>
inline void write_all(Target target, Source factor, int64_t rows, Result result) {
  const auto value = [&](int64_t i) { return has_factor ? result(i) * factor[i] : result(i); };
  if (!target.rows) {
    for (int64_t i = 0; i < rows * target.vectors; ++i) store(target.to + i * kLanes, value(i));
    return;
  }
  for (int64_t row = 0, i = 0; row < rows; ++row) {
    float* const to = target.to + target.rows[row];
    store(to, value(i++));
    if (target.vectors == 2) store(to + kLanes, value(i++));
  }
}

template <bool has_factor, Vec (*operation)(Vec)>
void loop_1(Target target, const Source* from, Source factor, int64_t rows) {
  const Source a = from[0];
  write_all<has_factor>(target, factor, rows, [&](int64_t i) { return operation(a[i]); });
}

template <bool has_factor, Vec (*operation)(Vec, Vec)>
void loop_2(Target target, const Source* from, Source factor, int64_t rows) {
  const Source a = from[0], b = from[1];
  write_all<has_factor>(target, factor, rows, [&](int64_t i) { return operation(a[i], b[i]); });
}

template <bool has_factor, Vec (*operation)(Vec, Vec, Vec)>
void loop_3(Target target, const Source* from, Source factor, int64_t rows) {
  const Source a = from[0], b = from[1], c = from[2];
  write_all<has_factor>(target, factor, rows,
                        [&](int64_t i) { return operation(a[i], b[i], c[i]); });
}

// Each operation without a factor, and with one.
constexpr Loop kLoops[][2] = {
#define RESFUSE_OPERATION(name, taken, function) \
  {loop_##taken<false, function>, loop_##taken<true, function>},
#include "conv/operations.inc"
#undef RESFUSE_OPERATION
};

// The registers of a thread: the slots of a program, each a register tile of (row, vector), and a
// vector of each constant.
struct Registers {
  alignas(64) float slots[kMaxSlots][kMR * kNR];
  alignas(64) float constants[kMaxConstants][kLanes];

  Source source(Value value) const {
    return value.is_constant ? Source{constants[value.index], 0}
                             : Source{slots[value.index], kLanes};
  }
};

// Runs the code on so many rows of tiles of `vectors`; the last result goes to `last` unless null.
inline void run_code(const Program& program, Registers& registers, int64_t rows, int64_t vectors,
                     const Target* last) {
  for (int i = 0; i < program.instructions; ++i) {
    const Instruction& instruction = program.code[i];
    Source from[kMostTaken];
    for (int n = 0; n < kMostTaken; ++n) from[n] = registers.source(instruction.taken[n]);
    const bool is_last = last && i + 1 == program.instructions;
    const Target target =
        is_last ? *last : Target{registers.slots[instruction.to], nullptr, vectors};
    kLoops[instruction.operation][instruction.has_factor](
        target, from, registers.source(instruction.factor), rows);
  }
}

}  // namespace
}  // namespace resfuse
