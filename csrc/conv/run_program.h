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

// Writes so many rows of results, each times its factors.
using Loop = void (*)(Target target, const Source* from, const Source* factor, int64_t rows);

template <int factors, typename Result>
inline void write_all(Target target, const Source* factor, int64_t rows, Result result) {
  const Source first = factor[0], second = factor[1];
  const auto value = [&](int64_t i) {
    Vec product = result(i);
    if (factors > 0) product *= first[i];
    if (factors > 1) product *= second[i];
    return product;
  };
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

template <int factors, Vec (*operation)(Vec)>
void loop_1(Target target, const Source* from, const Source* factor, int64_t rows) {
  const Source a = from[0];
  write_all<factors>(target, factor, rows, [&](int64_t i) { return operation(a[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec)>
void loop_2(Target target, const Source* from, const Source* factor, int64_t rows) {
  const Source a = from[0], b = from[1];
  write_all<factors>(target, factor, rows, [&](int64_t i) { return operation(a[i], b[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec, Vec)>
void loop_3(Target target, const Source* from, const Source* factor, int64_t rows) {
  const Source a = from[0], b = from[1], c = from[2];
  write_all<factors>(target, factor, rows, [&](int64_t i) { return operation(a[i], b[i], c[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec, Vec, Vec)>
void loop_4(Target target, const Source* from, const Source* factor, int64_t rows) {
  const Source a = from[0], b = from[1], c = from[2], d = from[3];
  write_all<factors>(target, factor, rows,
                     [&](int64_t i) { return operation(a[i], b[i], c[i], d[i]); });
}

// Each operation with every number of factors.
constexpr Loop kLoops[][1 + kMostFactors] = {
#define RESFUSE_OPERATION(name, taken, function) \
  {loop_##taken<0, function>, loop_##taken<1, function>, loop_##taken<2, function>},
#include "conv/operations.inc"
#undef RESFUSE_OPERATION
};

// The registers of a thread: the slots of a program, each a register tile of (row, vector), and a
// vector of each constant. Accumulators of rows that wait for the program are in slot 0, and each
// row's outputs begin at its pixel.
struct Registers {
  alignas(64) float slots[kMaxSlots][kMR * kNR];
  alignas(64) float constants[kMaxConstants][kLanes];
  int64_t waiting;
  int64_t pixels[kMR * kVectors];

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
    Source from[kMostTaken], factor[kMostFactors];
    for (int n = 0; n < kMostTaken; ++n) from[n] = registers.source(instruction.taken[n]);
    for (int n = 0; n < kMostFactors; ++n) factor[n] = registers.source(instruction.factor[n]);
    const bool is_last = last && i + 1 == program.instructions;
    const Target target =
        is_last ? *last : Target{registers.slots[instruction.to], nullptr, vectors};
    kLoops[instruction.operation][instruction.factors](target, from, factor, rows);
  }
}

}  // namespace
}  // namespace resfuse
