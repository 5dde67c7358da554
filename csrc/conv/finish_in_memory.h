// The end of a register tile for which registers are not enough (epilogue.h has the others): it is
// stored, scaled and shifted, and goes on from there.

#pragma once

#include "conv/tile_arguments.h"

namespace resfuse {
namespace {

// Adds a tile in memory to the sums.
inline void add_tile_to_sums(const Tile& tile, int height, int vectors) {
  Sums* const sums = tile.sums + tile.channel / kLanes;
  for (int n = 0; n < vectors; ++n)
    add_to_sums({tile.acc + n * kLanes, vectors * kLanes}, height, sums[n]);
}

// Stores whole vectors of a tile in memory, as in training, where there is no epilogue.
inline void store_tile(const Tile& tile, int height, int vectors) {
  float* to = tile.output->out + tile.pixel;
  const float* from = tile.acc;
  for (int m = 0; m < height; ++m, to += tile.pixel_stride)
    for (int n = 0; n < vectors; ++n, from += kLanes) store(to + n * kLanes, load(from));
}

// Runs the program on `count` vectors more behind those that wait in slot 0; or lets all of them
// wait for the tiles to come as long as there is room. Each operation of a function waits for the
// one before, which seven vectors do not hide: on AVX-512 a depthwise convolution with tanh
// or GELU takes 0.84 of the time so.
inline void run_or_wait(Tile& tile, int64_t waiting, int64_t count) {
  const Output& output = *tile.output;
  const bool waits = tile.count > 1 && waiting + 2 * count <= kMR * kVectors;
  tile.acc = waits ? tile.acc + count * kLanes : output.registers.slots[0];
  if (!waits) finish_by_program(output, waiting + count);
}

// Finishes a plain tile, with SiLU or GELU, or of vectors that are parts where there are no masks:
// asks for the epilogue once, and not for each vector. Out of line: inlined in its caller,
// EfficientNet-B0 with AVX2 took 1.05 of the time.
__attribute__((noinline)) inline void finish_plain(const Tile& tile, int height, int vectors) {
  // Locals, for outputs might alias members.
  const Output& output = *tile.output;
  const float* const residual = output.residual;
  const Activation activation = output.activation;
  const int64_t last = output.last_columns(tile.channel, vectors);
  const auto each = [&, out = output.out, stride = tile.pixel_stride](auto function) {
    const float* from = tile.acc;
    int64_t pixel = tile.pixel;
    for (int m = 0; m < height; ++m, pixel += stride) {
      int64_t at = pixel;
      for (int n = 1; n < vectors; ++n, at += kLanes, from += kLanes)
        store(out + at, function(load(from), at, kLanes));
      store_some(out + at, function(load(from), at, last), last);
      from += kLanes;
    }
  };
  if (activation.kind == Activation::kSilu)
    return each([](Vec value, int64_t, int64_t) { return silu(value); });
  if (activation.kind == Activation::kGelu)
    return each([](Vec value, int64_t, int64_t) { return gelu(value); });
  if (activation.kind == Activation::kGeluByTanh)
    return each([](Vec value, int64_t, int64_t) { return gelu_by_tanh(value); });
  if (activation.kind == Activation::kHardSwish)
    return each([&](Vec value, int64_t, int64_t) { return hard_swish(activation, value); });
  const Bounds bounds = output.bounds;
  const auto with_residual = [&](Vec value, int64_t at, int64_t count) {
    return bounded(bounds, value + load_some(residual + at, count));
  };
  if (residual)
    each(with_residual);
  else
    each([&](Vec value, int64_t, int64_t) { return bounded(bounds, value); });
}

// Finishes any other tile: what a program ends, and what lies scattered.
__attribute__((noinline)) inline void finish_other(Tile& tile, int height, int vectors) {
  const Output& output = *tile.output;
  const int64_t waiting = (tile.acc - output.registers.slots[0]) / kLanes;
  int64_t* const places = output.registers.places + waiting;
  const int count = height * vectors;
  int64_t pixel = tile.pixel;
  const int64_t stride = tile.pixel_stride, *const pixels = tile.pixels;
  for (int m = 0, i = 0; m < height; ++m, pixel += stride)
    for (int n = 0; n < vectors; ++n) places[i++] = (pixels ? pixels[m] : pixel) + n * kLanes;
  if (output.program) return run_or_wait(tile, waiting, count);
  for (int m = 0, i = 0; m < height; ++m)
    for (int n = 0; n < vectors; ++n, ++i)
      finish_vector(output, places[i], output.columns - n * kLanes, load(tile.acc + i * kLanes));
}

// Finishes a tile that is in memory, scaled and shifted, in slot 0 or behind what waits there. One
// function, which all tiles call.
__attribute__((noinline)) inline void finish_some(Tile& tile, int height, int vectors) {
  if (tile.sums) add_tile_to_sums(tile, height, vectors);
  if (!tile.is_plain()) return finish_other(tile, height, vectors);
  const bool is_bare = tile.sums && tile.output->is_whole();
  is_bare ? store_tile(tile, height, vectors) : finish_plain(tile, height, vectors);
}

}  // namespace
}  // namespace resfuse
