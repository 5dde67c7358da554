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
// one before, which seven vectors do not hide: with SiLU a depthwise convolution takes 0.7 to 0.85
// of the time so.
inline void run_or_wait(Tile& tile, int64_t waiting, int64_t count) {
  const Output& output = *tile.output;
  const bool waits = tile.count > 1 && waiting + 2 * count <= kMR * kVectors;
  tile.acc = waits ? tile.acc + count * kLanes : output.registers.slots[0];
  if (!waits) finish_by_program(output, waiting + count);
}

// Finishes a plain tile whose last vectors are parts, where there are no masks: asks for the
// epilogue once, and not for each vector.
inline void finish_parts(const Tile& tile, int height, int vectors) {
  const Output output = *tile.output;  // a local, for outputs might alias members
  const int64_t last = output.last_columns(tile.channel, vectors);
  const auto each = [&](auto function) {
    const float* from = tile.acc;
    int64_t pixel = tile.pixel;
    for (int m = 0; m < height; ++m, pixel += tile.pixel_stride) {
      int64_t at = pixel;
      for (int n = 1; n < vectors; ++n, at += kLanes, from += kLanes)
        store(output.out + at, function(load(from), at, kLanes));
      store_part(output.out + at, function(load(from), at, last), last);
      from += kLanes;
    }
  };
  const Vec low = splat(output.bounds.low), high = splat(output.bounds.high);
  const auto bounded = [&](Vec value) { return lower(high, upper(low, value)); };
  const auto with_residual = [&](Vec value, int64_t at, int64_t count) {
    return bounded(value + load_some(output.residual + at, count));
  };
  if (output.is_hard_swish)
    each([&](Vec value, int64_t, int64_t) { return hard_swish(output.function, value); });
  else if (output.residual)
    each(with_residual);
  else
    each([&](Vec value, int64_t, int64_t) { return bounded(value); });
}

// Finishes a tile that is in memory, scaled and shifted, in slot 0 or behind what waits there: what
// a program ends, what lies scattered, what a panel's last vector has but in part, and all in
// training. One function, which all tiles call.
__attribute__((noinline)) inline void finish_some(Tile& tile, int height, int vectors) {
  const Output& output = *tile.output;
  if (!kHasMasks && tile.is_plain()) return finish_parts(tile, height, vectors);
  if (tile.sums) {
    add_tile_to_sums(tile, height, vectors);
    if (!tile.pixels && output.is_whole()) return store_tile(tile, height, vectors);
  }
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

}  // namespace
}  // namespace resfuse
