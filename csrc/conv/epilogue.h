// From an accumulator to the output: the one place where an output is stored. What is common (scale
// and shift, a tensor to add, bounds such as ReLU's, hard swish) is compiled for accumulators in
// registers. All else is a program, which runs on a tile of them in L1.

#pragma once

#include "conv/hard_swish.h"
#include "conv/pack.h"
#include "conv/plan.h"
#include "conv/run_program.h"

namespace resfuse {
namespace {

// The operands as a panel sees them, each at its first channel. Without an epilogue scale is null
// and the accumulator itself is stored.
struct Output {
  float* out;
  const float *residual, *scale, *shift;
  Bounds bounds;
  const Program* program;  // or null; then what follows means nothing
  Registers& registers;
  int64_t channel, columns, vectors;  // the panel's
  int64_t image_floats, out_c;
  bool is_hard_swish = false;  // the program
  HardSwish function = {};     // then

  Output(const Job& job, const Panel& panel, Registers& registers)
      : out(job.operands.out + panel.channel),
        residual(nullptr),
        scale(nullptr),
        shift(nullptr),
        bounds(kNoBounds),
        program(nullptr),
        registers(registers),
        channel(panel.channel),
        columns(panel.columns),
        vectors(panel.columns <= kLanes ? 1 : kVectors),
        image_floats(job.scatter.image),
        out_c(job.conv.out_c) {
    const Epilogue* epilogue = job.operands.epilogue;
    if (!epilogue) return;
    residual = epilogue->residual ? epilogue->residual + channel : nullptr;
    scale = epilogue->scale + channel;
    shift = epilogue->shift + channel;
    bounds = epilogue->bounds;
    program = epilogue->program;
    if (program) prepare();
  }

  // Spreads what is the same for all pixels.
  void prepare() {
    registers.waiting = 0;
    for (int i = 0; i < program->constants; ++i)
      store(registers.constants[i], splat(program->constant[i]));
    for (int i = 0; i < program->operands; ++i) {
      const ProgramOperand& operand = program->operand[i];
      if (operand.per == Per::kChannel)
        for (int64_t row = 0; row < kMR * kVectors / vectors; ++row) gather(operand, row, channel);
    }
    is_hard_swish = recognise(*program, function);
  }

  bool is_whole() const { return columns == vectors * kLanes; }

  // Copies a row of an operand, whose numbers for the panel begin at `at`.
  void gather(const ProgramOperand& operand, int64_t row, int64_t at) const {
    float* const to = registers.slots[operand.slot] + row * vectors * kLanes;
    for (int64_t n = 0; n < vectors; ++n)
      store(to + n * kLanes, load_some(operand.data + at + n * kLanes, columns - n * kLanes));
  }
};

// Multiplies and shifts N vectors of a panel, from `channel` of it on, of `columns` in all.
inline Vec scale_and_shift(const Output& to, int64_t channel, Vec acc) {
  const int64_t count = to.columns - channel;
  return acc * load_some(to.scale + channel, count) + load_some(to.shift + channel, count);
}

// Stores a result of the program for `rows` pixels.
inline void write_output(const Output& to, const ProgramOutput& output, const int64_t* pixels,
                         int64_t rows) {
  const Source from = to.registers.source(output.value);
  float* const out = output.data + to.channel;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t n = 0; n < to.vectors; ++n) {
      const Vec value = from[row * to.vectors + n];
      float* const at = out + pixels[row] + n * kLanes;
      to.is_whole() ? store(at, value) : store_some(at, value, to.columns - n * kLanes);
    }
}

// Runs the program on `rows` pixels, as many as slots have room for, whose outputs begin at
// `pixels` and whose accumulators, scaled and shifted, are in slot 0.
__attribute__((noinline)) inline void finish_by_program(const Output& to, const int64_t* pixels,
                                                        int64_t rows) {
  const Program& program = *to.program;
  for (int i = 0; i < program.operands; ++i) {
    const ProgramOperand& operand = program.operand[i];
    if (operand.per == Per::kOutput)
      for (int64_t row = 0; row < rows; ++row) to.gather(operand, row, pixels[row] + to.channel);
    if (operand.per == Per::kImage)
      for (int64_t row = 0; row < rows; ++row)
        to.gather(operand, row, pixels[row] / to.image_floats * to.out_c + to.channel);
  }
  const bool is_direct = program.ends_in_output && to.is_whole();
  const Target last{to.out, pixels, to.vectors};
  run_code(program, to.registers, rows, to.vectors, is_direct ? &last : nullptr);
  for (int i = is_direct; i < program.outputs; ++i)
    write_output(to, program.output[i], pixels, rows);
}

// Finishes what a vector holds of the panel, from `channel` of it on, of the pixel whose outputs
// begin at `pixel`. For programs there are whole tiles only.
inline void finish_vector(const Output& to, int64_t pixel, int64_t channel, Vec acc) {
  const int64_t at = pixel + channel, count = to.columns - channel;
  if (to.scale) {
    acc = scale_and_shift(to, channel, acc);
    if (to.residual) acc += load_some(to.residual + at, count);
    acc = bounded(to.bounds, acc);
  }
  store_some(to.out + at, acc, count);
}

// Runs the program on `rows` pixels more, whose accumulators are in slot 0 behind those that wait;
// or lets all of them wait for `more` tiles like this as long as there is room. Each operation of a
// function waits for the one before, which seven vectors do not hide: with SiLU a depthwise
// convolution takes 0.7 to 0.85 of the time so. One function, for each tile has a call of it.
__attribute__((noinline)) inline void finish_or_wait(const Output& to, int64_t pixel,
                                                     int64_t stride, int64_t rows, bool more) {
  Registers& registers = to.registers;
  const int64_t all = registers.waiting + rows;
  for (int64_t row = registers.waiting; row < all; ++row, pixel += stride)
    registers.pixels[row] = pixel;
  const bool waits = more && (all + rows) * to.vectors <= kMR * kVectors;
  registers.waiting = waits ? all : 0;
  if (!waits) finish_by_program(to, registers.pixels, all);
}

// Finishes M pixels, `stride` apart, of N vectors each, of which the panel may end in the last, and
// asks what the branches ask once. The first is the output's from `channel` on; `more` tiles like
// this may follow.
template <int M, int N>
__attribute__((always_inline)) inline void finish_tile(const Output& to, int64_t channel,
                                                       int64_t pixel, int64_t stride, bool more,
                                                       Vec (&acc)[M][N]) {
  const int64_t columns = to.columns;
  // Calls function(acc, at, count) with each vector's place and the channels that it has.
  const auto each = [&](auto function) {
    int64_t at = pixel;
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m, at += stride) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n)
        function(acc[m][n], at + n * kLanes, n + 1 < N ? kLanes : columns - n * kLanes);
    }
  };
  if (to.scale) {
    Vec scale[N], shift[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      scale[n] = load_some(to.scale + channel + n * kLanes, columns - n * kLanes);
      shift[n] = load_some(to.shift + channel + n * kLanes, columns - n * kLanes);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[m][n] = acc[m][n] * scale[n] + shift[n];
  }
  if (to.is_hard_swish) {
    const HardSwish function = to.function;
    each([&](Vec& value, int64_t, int64_t) { value = hard_swish(function, value); });
  } else if (to.program) {
    float* const slot = to.registers.slots[0] + to.registers.waiting * N * kLanes;
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) store(slot + (m * N + n) * kLanes, acc[m][n]);
    return finish_or_wait(to, pixel, stride, M, more);
  }
  if (to.residual)
    each([&](Vec& value, int64_t at, int64_t count) {
      value += load_some(to.residual + at, count);
    });
  if (is_bound(to.bounds.low)) {
    const Vec low = splat(to.bounds.low);
    each([&](Vec& value, int64_t, int64_t) { value = upper(low, value); });
  }
  if (is_bound(to.bounds.high)) {
    const Vec high = splat(to.bounds.high);
    each([&](Vec& value, int64_t, int64_t) { value = lower(high, value); });
  }
  each([&](Vec& value, int64_t at, int64_t count) { store_some(to.out + at, value, count); });
}

}  // namespace
}  // namespace resfuse
