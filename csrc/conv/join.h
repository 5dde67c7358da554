// Images side by side along the channels, joined in memory: for algorithms that do not read parts.

#pragma once

#include <algorithm>
#include <cstring>

#include "base/pieces.h"
#include "conv/conv.h"

namespace resfuse {

// Writes all parts of `pixels` pixels, which have so many `channels` together.
inline void join_parts(const Prologue& prologue, int64_t pixels, int64_t channels,
                       int64_t max_threads, const Schedule& schedule, float* to) {
  const auto copy = [&](int64_t first, int64_t count) {
    float* at = to + first * channels;
    for (int64_t pixel = first; pixel < first + count; ++pixel)
      for (int i = 0; i < prologue.parts; at += prologue.part[i++].channels) {
        const Part& part = prologue.part[i];
        std::memcpy(at, part.data + pixel * part.channels,
                    static_cast<size_t>(part.channels) * sizeof(float));
      }
  };
  const int64_t piece = std::max<int64_t>(1, kPieceFloats / channels);
  in_pieces(pixels, piece, pixels > piece, max_threads, schedule, copy);
}

}  // namespace resfuse
