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

// Where an instruction leaves its vectors: at to + places[0], to + places[1], ...
struct Target {
  float* to;
  const int64_t* places;
};

// The places of a slot's vectors.
struct SideBySide {
  int64_t places[kMR * kVectors];

  constexpr SideBySide() : places{} {
    for (int i = 0; i < kMR * kVectors; ++i) places[i] = i * kLanes;
  }
};
constexpr SideBySide kSideBySide;

// Writes so many results, each times its factors.
using Loop = void (*)(Target target, const Source* from, const Source* factor, int64_t count);

template <int factors, typename Result>
inline void write_all(Target target, const Source* factor, int64_t count, Result result) {
  const Source first = factor[0], second = factor[1];
  for (int64_t i = 0; i < count; ++i) {
    Vec product = result(i);
    if (factors > 0) product *= first[i];
    if (factors > 1) product *= second[i];
    store(target.to + target.places[i], product);
  }
}

template <int factors, Vec (*operation)(Vec)>
void loop_1(Target target, const Source* from, const Source* factor, int64_t count) {
  const Source a = from[0];
  write_all<factors>(target, factor, count, [&](int64_t i) { return operation(a[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec)>
void loop_2(Target target, const Source* from, const Source* factor, int64_t count) {
  const Source a = from[0], b = from[1];
  write_all<factors>(target, factor, count, [&](int64_t i) { return operation(a[i], b[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec, Vec)>
void loop_3(Target target, const Source* from, const Source* factor, int64_t count) {
  const Source a = from[0], b = from[1], c = from[2];
  write_all<factors>(target, factor, count, [&](int64_t i) { return operation(a[i], b[i], c[i]); });
}

template <int factors, Vec (*operation)(Vec, Vec, Vec, Vec)>
void loop_4(Target target, const Source* from, const Source* factor, int64_t count) {
  const Source a = from[0], b = from[1], c = from[2], d = from[3];
  write_all<factors>(target, factor, count,
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
// vector of each constant. Accumulators are in slot 0, and go to these places of the output.
struct Registers {
  alignas(64) float slots[kMaxSlots][kMR * kNR];
  alignas(64) float constants[kMaxConstants][kLanes];
  int64_t places[kMR * kVectors];

  Source source(Value value) const {
    return value.is_constant ? Source{constants[value.index], 0}
                             : Source{slots[value.index], kLanes};
  }
};

// Runs the code on so many vectors; the last result goes to `last` unless null.
inline void run_code(const Program& program, Registers& registers, int64_t count,
                     const Target* last) {
  for (int i = 0; i < program.instructions; ++i) {
    const Instruction& instruction = program.code[i];
    Source from[kMostTaken], factor[kMostFactors];
#pragma GCC unroll 4
    for (int n = 0; n < kMostTaken; ++n) from[n] = registers.source(instruction.taken[n]);
#pragma GCC unroll 2
    for (int n = 0; n < kMostFactors; ++n) factor[n] = registers.source(instruction.factor[n]);
    const bool is_last = last && i + 1 == program.instructions;
    const Target target =
        is_last ? *last : Target{registers.slots[instruction.to], kSideBySide.places};
    kLoops[instruction.operation][instruction.factors](target, from, factor, count);
  }
}

}  // namespace
}  // namespace resfuse
