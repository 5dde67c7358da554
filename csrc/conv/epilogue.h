// From an accumulator to the output: the one place where an output is stored. What is common (scale
// and shift, a tensor to add, bounds such as ReLU's, hard swish) is compiled for accumulators in
// registers, and SiLU for those in L1. All else is a program, which runs on a tile of them there.

#pragma once

#include "conv/activations.h"
#include "conv/pack.h"
#include "conv/plan.h"
#include "conv/run_program.h"

namespace resfuse {
namespace {

// Of a panel's tiles.
inline int64_t vectors_of(const Panel& panel) { return panel.columns <= kLanes ? 1 : kVectors; }

// Whether an epilogue with this program, or with none, is one that is compiled.
inline bool is_compiled(const Program* program) {
  return !program || program->activation.kind != Activation::kNone;
}

// The operands as a panel sees them, each at its first channel; scale and shift may be read in
// whole vectors. Without an epilogue scale is null and the accumulator itself is stored.
struct Output {
  float* out;
  const float *residual, *scale, *shift;
  Bounds bounds;
  const Epilogue* epilogue;  // or null
  const Program* program;    // or null; then what follows means nothing
  Registers& registers;
  int64_t channel, columns;  // the panel's, or a strip's
  int64_t vectors;           // a tile's
  int64_t image_floats, out_c;
  Activation activation = {};  // the program, if it is one of those that are compiled

  // `copies` has room for whole vectors of scales and as many shifts.
  Output(const Job& job, const Panel& panel, int64_t vectors, Registers& registers, float* copies)
      : out(job.operands.out + panel.channel),
        residual(nullptr),
        scale(nullptr),
        shift(nullptr),
        bounds(kNoBounds),
        epilogue(job.operands.epilogue),
        program(nullptr),
        registers(registers),
        channel(panel.channel),
        columns(panel.columns),
        vectors(vectors),
        image_floats(job.scatter.image),
        out_c(job.conv.out_c) {
    if (!epilogue) return;
    residual = epilogue->residual ? epilogue->residual + channel : nullptr;
    scale = in_whole_vectors(epilogue->scale + channel, copies);
    shift = in_whole_vectors(epilogue->shift + channel, copies + round_up(columns, kLanes));
    bounds = epilogue->bounds;
    program = epilogue->program;
    if (program) prepare();
  }

  // Spreads what is the same for all pixels.
  void prepare() {
    for (int i = 0; i < program->constants; ++i)
      store(registers.constants[i], splat(program->constant[i]));
    for (int i = 0; i < program->operands; ++i)
      if (program->operand[i] == Per::kChannel)
        for (int64_t row = 0; row < kMR * kVectors / vectors; ++row) gather(i, row, channel);
    activation = program->activation;
  }

  // The same numbers, one for each channel; copied if they end within a vector.
  const float* in_whole_vectors(const float* numbers, float* copy) const {
    if (is_whole()) return numbers;
    for (int64_t n = 0; n < columns; n += kLanes)
      store(copy + n, load_some(numbers + n, columns - n));
    return copy;
  }

  bool is_whole() const { return columns % kLanes == 0; }
  // The columns of the last of so many vectors, the first of which begins with a channel.
  int64_t last_columns(int64_t from, int64_t count) const {
    return smaller(columns - from, count * kLanes) - (count - 1) * kLanes;
  }
  // Whether the epilogue is one that is compiled for registers.
  bool ends_in_registers() const { return !program || activation.kind == Activation::kHardSwish; }

  // Copies a row of an operand, whose numbers for the panel begin at `at`.
  void gather(int operand, int64_t row, int64_t at) const {
    const float* const from = epilogue->operand[operand] + at;
    float* const to = registers.slots[1 + operand] + row * vectors * kLanes;
    for (int64_t n = 0; n < vectors; ++n)
      store(to + n * kLanes, load_some(from + n * kLanes, columns - n * kLanes));
  }
};

// Scales and shifts a vector of the panel, from `channel` of it on. Both are loaded first: GCC
// fuses no product with a sum beyond a branch.
inline Vec scale_and_shift(const Output& to, int64_t channel, Vec acc) {
  if (!to.scale) return acc;
  const Vec scale = load(to.scale + channel), shift = load(to.shift + channel);
  return acc * scale + shift;
}

// The same for M pixels of N vectors each, the first of which is the output's from `channel` on.
template <int M, int N>
__attribute__((always_inline)) inline void scale_tile(const Output& to, int64_t channel,
                                                      Vec (&acc)[M][N]) {
  if (!to.scale) return;
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) {
    const int64_t at = channel + n * kLanes;
    const Vec scale = load(to.scale + at), shift = load(to.shift + at);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) acc[m][n] = acc[m][n] * scale + shift;
  }
}

// Stores `count` vectors of a result of the program.
inline void write_output(const Output& to, int output, int64_t count) {
  const Source from = to.registers.source(to.program->output[output]);
  float* const out = output == 0 ? to.out : to.epilogue->output[output] + to.channel;
  for (int64_t i = 0; i < count;)
    for (int64_t n = 0; n < to.vectors; ++n, ++i)
      store_some(out + to.registers.places[i], from[i], to.columns - n * kLanes);
}

// Runs the program on whole pixels, `count` vectors, as many as slots have room for, whose
// accumulators, scaled and shifted, are in slot 0.
__attribute__((noinline)) inline void finish_by_program(const Output& to, int64_t count) {
  const Program& program = *to.program;
  const int64_t* const places = to.registers.places;
  for (int i = 0; i < program.operands; ++i) {
    if (program.operand[i] == Per::kChannel) continue;
    for (int64_t row = 0; row * to.vectors < count; ++row) {
      const int64_t pixel = places[row * to.vectors];
      const bool is_output = program.operand[i] == Per::kOutput;
      to.gather(i, row, to.channel + (is_output ? pixel : pixel / to.image_floats * to.out_c));
    }
  }
  const bool is_direct = program.ends_in_output && to.is_whole();
  const Target last{to.out, places};
  run_code(program, to.registers, count, is_direct ? &last : nullptr);
  for (int i = is_direct; i < program.outputs; ++i) write_output(to, i, count);
}

// Finishes `count` channels of a vector, scaled and shifted, which begins at `at` in the output.
// For programs there are whole tiles only.
inline void finish_vector(const Output& to, int64_t at, int64_t count, Vec value) {
  if (to.residual) value += load_some(to.residual + at, count);
  store_some(to.out + at, bounded(to.bounds, value), count);
}

// Finishes M pixels, `stride` apart, of N vectors each, scaled and shifted, the first of which is
// the output's from `channel` on, and asks what the branches ask once. Vectors are whole, but with
// masks the last may be a part. Were it stored by a mask where it is whole, too, 1x1 layers would
// take 2 percent longer.
template <int M, int N>
__attribute__((always_inline)) inline void finish_tile(const Output& to, int64_t channel,
                                                       int64_t pixel, int64_t stride,
                                                       Vec (&acc)[M][N]) {
  // Calls function(acc, at, is_last) with each vector and its place in an array of outputs.
  const auto each_in = [&](auto* array, auto function) {
    auto* row = array + pixel;
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m, row = in_register(row + stride))
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) function(acc[m][n], row + n * kLanes, n + 1 == N);
  };
  const auto each = [&](auto function) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] = function(acc[m][n]);
  };
  if (to.activation.kind == Activation::kHardSwish) {
    const Activation activation = to.activation;
    each([&](Vec value) { return hard_swish(activation, value); });
  }
  const int64_t last = to.last_columns(channel, N);
  if (to.residual)
    each_in(to.residual, [&](Vec& value, const float* at, bool is_last) {
      value += kHasMasks && is_last ? load_part(at, last) : load(at);
    });
  if (is_bound(to.bounds.low)) {
    const Vec low = splat(to.bounds.low);
    each([&](Vec value) { return upper(low, value); });
  }
  if (is_bound(to.bounds.high)) {
    const Vec high = splat(to.bounds.high);
    each([&](Vec value) { return lower(high, value); });
  }
  if (!kHasMasks || last == kLanes)
    return each_in(to.out, [](Vec value, float* at, bool) { store(at, value); });
  each_in(to.out, [&](Vec value, float* at, bool is_last) {
    is_last ? store_part(at, value, last) : store(at, value);
  });
}

}  // namespace
}  // namespace resfuse
