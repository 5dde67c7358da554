// The pass of layer_norm.h, for any vector width: a pixel stays in L1 for all that reads it.

#pragma once

#include "base/lanes.h"
#include "norm/layer_norm.h"

namespace resfuse {
namespace {

inline Lanes lane_numbers() {
  Lanes numbers = {};
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
  return numbers;
}

inline float sum_of_lanes(Vec value) {
#pragma GCC unroll 4
  for (int step = kLanes / 2; step > 0; step /= 2) value += shuffle(value, lane_numbers() ^ step);
  return value[0];
}

// The mean of `term` of each channel. At most 64 vectors are added up at a time, so that
// roundings do not grow with the number of channels.
template <typename Term>
inline float mean_over_channels(const float* from, int64_t channels, Term term) {
  constexpr int kSums = 4;  // as many additions take their time together
  constexpr int64_t kBlock = 64 * kLanes;
  Vec total = {};
  for (int64_t c = 0; c < channels;) {
    const int64_t end = smaller(channels, c + kBlock);
    Vec sums[kSums] = {};
    for (; c + kSums * kLanes <= end; c += kSums * kLanes)
#pragma GCC unroll 4
      for (int s = 0; s < kSums; ++s) sums[s] += term(load(from + c + s * kLanes));
    for (; c + kLanes <= end; c += kLanes) sums[0] += term(load(from + c));
    if (const int64_t rest = end - c; rest > 0) {
      const Vec last = term(load_part(from + c, rest));
      sums[1] += lane_numbers() < static_cast<int32_t>(rest) ? last : Vec{};
      c = end;
    }
    total += (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  return sum_of_lanes(total) / static_cast<float>(channels);
}

// Writes y of `pixels` pixels from `first` on, which may lie where x does. What is one number for a
// pixel is computed as such: to divide vectors takes as long as all the rest.
inline void layer_norm(const LayerNorm& norm, int64_t first, int64_t pixels, float* out) {
  const int64_t channels = norm.channels;
  for (int64_t p = first; p < first + pixels; ++p) {
    const float* const from = norm.in + p * channels;
    float* const to = out + p * channels;
    const float mean =
        norm.centred ? mean_over_channels(from, channels, [](Vec x) { return x; }) : 0.0f;
    const float var =
        mean_over_channels(from, channels, [&](Vec x) { return (x - mean) * (x - mean); });
    const float inverse = 1.0f / __builtin_sqrtf(var + norm.epsilon);
    const auto y = [&](Vec x, Vec scale, Vec shift) {
      return (x - mean) * inverse * scale + shift;
    };
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes)
      store(to + c, y(load(from + c), load(norm.scale + c), load(norm.shift + c)));
    const auto rest = [&](const float* at) { return load_part(at + c, channels - c); };
    if (c < channels)
      store_part(to + c, y(rest(from), rest(norm.scale), rest(norm.shift)), channels - c);
  }
}

}  // namespace
}  // namespace resfuse
