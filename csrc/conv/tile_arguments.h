// What a register tile is told: which runs it reads, and what becomes of it.

#pragma once

#include "base/simd.h"
#include "conv/epilogue.h"
#include "conv/sums.h"

namespace resfuse {
namespace {

// A row of the image that a window meets; outside the image zeros, of which there is one pixel.
struct ImageRow {
  const float* at;
  int64_t is_real;  // 1 or 0
};

// What a tile along the image's rows reads (row_tile.h): columns `step` floats apart.
struct AlongRows {
  const ImageRow* rows;
  int64_t step;
  uint32_t outside;    // bit c: column c is not in the image,
  const float* zeros;  // and these are read for it
};

// What a tile brings into L2 for those after it while it computes: a line for each k, `step` bytes
// apart; if it has few rows, and so may be the only one, as many as the k's weights have. There is
// always a line to ask for, if one that is there: a branch would cost more.
struct Ahead {
  static constexpr int kFew = 8;  // as dense layers have of images that come eight at a time

  const char* at;
  int64_t step;

  template <int M = kMR>
  void bring() {
    constexpr int64_t kLine = 64, kLines = M > kFew ? 1 : ceil_div(kNR * sizeof(float), kLine);
#pragma GCC unroll 2
    for (int64_t i = 0; i < kLines; ++i) __builtin_prefetch(at + i * kLine, 0, 2);
    at += step;
  }
  void skip(int64_t ks) { at += ks * step; }
};

inline Ahead ahead_of(const float* at, int64_t step) {
  return {reinterpret_cast<const char*>(at), step};
}

// The weights from `at` on, a step of which is kNR floats, where tiles go through so many rows:
// each brings a share of a step.
inline Ahead share_ahead(const float* at, int64_t rows) {
  constexpr auto kStepBytes = static_cast<int64_t>(kNR * sizeof(float));
  return ahead_of(at, ceil_div(kStepBytes, ceil_div(rows, kMR)));
}

struct Tile;
// Sums up a tile of narrow groups, to (height, vectors).
using SumFunction = void (*)(const Tile&, int height, int vectors, float* to);

// Says which runs a register tile reads, and what becomes of it; and of the tiles that follow it,
// where their kind has a way from one to the next.
struct Tile {
  // (runs, m): each row's pointer into each run; or (runs,): the first row's, and the others lie
  // `row_stride` floats apart.
  const float* const* rows;
  int64_t row_stride;
  int64_t offset;        // floats from there to the panel's inputs
  int64_t runs, length;  // one run at least
  const float* panel;    // packed, kNR floats for each k
  Ahead ahead;
  int64_t count = 1;  // tiles, which follow each other,
  int64_t in_memory;  // of which so many, the last ones, are finished in memory
  float* acc;         // there
  bool first, last;   // of the passes
  const Output* output;
  int64_t pixel, pixel_stride;  // in the output, in floats
  const int64_t* pixels;        // each row's place in the output, or null: a stride apart
  Sums* sums;                   // of the output's vectors, null but in training
  SumFunction sum;              // of narrow groups (grouped.h)
  // Depthwise tiles read along the image's rows; their vector is the panel's `vector`-th.
  const AlongRows* along;
  int64_t vector, panel_stride;
  int64_t channel;  // of the first sum, among the output's

  // Whether what ends it is compiled, and its rows are a stride apart.
  bool is_plain() const { return !pixels && is_compiled(output->program); }
  // Says which are finished in memory, of tiles of which so many end with a part of a vector. Sums
  // in registers are of whole vectors, where the tiles' kind has them.
  static constexpr int64_t kAll = INT64_MAX;
  void set_in_memory(int64_t parts, bool has_sums_in_registers = false) {
    const bool sums_fit = !sums || (has_sums_in_registers && output->is_whole());
    const bool fits = is_plain() && output->ends_in_registers() && sums_fit;
    in_memory = !fits ? kAll : kHasMasks || output->is_whole() ? 0 : parts;
  }
};

}  // namespace
}  // namespace resfuse
