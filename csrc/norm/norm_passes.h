// The passes of norm.h, for any vector width.

#pragma once

#include "base/lanes.h"
#include "base/math.h"
#include "norm/norm.h"

namespace resfuse {
namespace {

inline Lanes is_open(const Gate& gate, Vec y) {
  const Lanes above = gate.at_least ? y >= gate.bounds.low : y > gate.bounds.low;
  return above & ~(y >= gate.bounds.high);
}

// What passes the gate of a cotangent; what does not is not multiplied by 0, for it may be NaN.
inline Vec passing(const Gate& gate, Vec y, Vec d_y) {
  const Vec rest = gate.otherwise == 0.0f ? Vec{} : gate.otherwise * d_y;
  return is_open(gate, y) ? d_y : rest;
}

inline Vec apply(const Gate& gate, Vec value) {
  const Vec inside = bounded(gate.bounds, value);
  if (gate.otherwise == 0.0f) return inside;
  return is_open(gate, value) ? inside : gate.otherwise * value;
}

inline Vec silu_derivative(Vec z) {
  const Vec l = logistic(z);
  return l * (1.0f + z * (1.0f - l));
}

// Writes y of `pixels` pixels from `first` on.
inline void normalize(const Normalize& norm, int64_t first, int64_t pixels, float* out) {
  for (int64_t p = first; p < first + pixels; ++p)
    for (int64_t channel = 0; channel < norm.channels; channel += kLanes) {
      const int64_t at = p * norm.channels + channel, count = norm.channels - channel;
      const Vec deviation =
          load_some(norm.conv + at, count) - load_some(norm.mean + channel, count);
      Vec y = deviation * load_some(norm.scale + channel, count) +
              load_some(norm.shift + channel, count);
      if (norm.residual) y += load_some(norm.residual + at, count);
      if (norm.gate) y = apply(*norm.gate, y);
      store_some(out + at, norm.silu ? silu(y) : y, count);
    }
}

// g and conv - mean of one vector of channels of a pixel.
struct NormVector {
  Vec g, deviation;

  __attribute__((always_inline)) NormVector(const Norm& norm, int64_t pixel, int64_t channel,
                                            int64_t count) {
    const int64_t at = pixel * norm.channels + channel;
    g = load_some(norm.d_y + at, count);
    deviation = load_some(norm.conv + at, count) - load_some(norm.mean + channel, count);
    if (norm.y)
      g = passing(*norm.gate, load_some(norm.y + at, count), g);
    else if (norm.scale)
      pass_argument(norm, deviation * load_some(norm.scale + channel, count) +
                              load_some(norm.shift + channel, count));
  }

 private:
  void pass_argument(const Norm& norm, Vec z) {
    g = norm.gate ? passing(*norm.gate, z, g) : g * silu_derivative(z);
  }
};

inline NormVector vector_at(const Norm& norm, int64_t pixel, int64_t channel, int64_t count) {
  return {norm, pixel, channel, count};
}

// The same of Deviations, whose g is the deviation itself.
struct DeviationVector {
  Vec g, deviation;
};
inline DeviationVector vector_at(const Deviations& of, int64_t pixel, int64_t channel,
                                 int64_t count) {
  const Vec deviation =
      load_some(of.in + pixel * of.channels + channel, count) - load_some(of.from + channel, count);
  return {deviation, deviation};
}

// And of a single number, in doubles.
struct DoubleTerms {
  double g, deviation;
};
inline DoubleTerms terms_at(const Norm& norm, int64_t pixel, int64_t channel) {
  const double conv = norm.conv[pixel * norm.channels + channel];
  return {vector_at(norm, pixel, channel, 1).g[0], conv - norm.mean[channel]};
}
inline DoubleTerms terms_at(const Deviations& of, int64_t pixel, int64_t channel) {
  const double deviation =
      static_cast<double>(of.in[pixel * of.channels + channel]) - of.from[channel];
  return {deviation, deviation};
}

// Adds the first `count` lanes. Lane by lane this took a quarter of the time of all sums.
inline void add_to_doubles(double* to, Vec value, int64_t count) {
  if (count == kLanes) {
    *reinterpret_cast<Doubles*>(to) += __builtin_convertvector(value, Doubles);
    return;
  }
  for (int64_t lane = 0; lane < count; ++lane) to[lane] += value[lane];
}

// The same as add_sums for `count` channels, where its sums overflow in floats.
template <typename Terms>
__attribute__((noinline)) void add_sums_in_doubles(const Terms& norm, int64_t first, int64_t pixels,
                                                   int64_t channel, int64_t count, double* sums) {
  for (int64_t p = first; p < first + pixels; ++p)
    for (int64_t c = channel; c < channel + count; ++c) {
      const DoubleTerms at = terms_at(norm, p, c);
      sums[c] += at.g;
      sums[norm.channels + c] += at.g * at.deviation;
    }
}

// So many pixels are added up in floats.
constexpr int64_t kSumPixels = 16;

// Asks for what is read after so many pixels: processors follow no reads from so many places.
inline void bring_ahead(const Norm& norm, int64_t pixel, int64_t channel) {
  const int64_t at = (pixel + kSumPixels) * norm.channels + channel;
  __builtin_prefetch(norm.conv + at, 0, 2);
  __builtin_prefetch(norm.d_y + at, 0, 2);
}
inline void bring_ahead(const Deviations& of, int64_t pixel, int64_t channel) {
  __builtin_prefetch(of.in + (pixel + kSumPixels) * of.channels + channel, 0, 2);
}

// Adds the sums over a few pixels of `vectors` vectors of channels, of which the last has `count`:
// in floats, and those sums in doubles.
template <int64_t vectors, typename Terms>
void add_sums_of(const Terms& norm, int64_t first, int64_t pixels, int64_t channel, int64_t count,
                 double* sums) {
  Vec plain[vectors] = {}, weighted[vectors] = {};
  for (int64_t p = first; p < first + pixels; ++p)
#pragma GCC unroll 4
    for (int64_t v = 0; v < vectors; ++v) {
      bring_ahead(norm, p, channel + v * kLanes);
      const auto at = vector_at(norm, p, channel + v * kLanes, v < vectors - 1 ? kLanes : count);
      plain[v] += at.g;
      weighted[v] += at.g * at.deviation;
    }
#pragma GCC unroll 4
  for (int64_t v = 0; v < vectors; ++v, channel += kLanes) {
    const int64_t lanes = v < vectors - 1 ? kLanes : count;
    // Where either is not finite, neither is their sum.
    if (!all_finite(plain[v] + weighted[v])) {
      add_sums_in_doubles(norm, first, pixels, channel, lanes, sums);
      continue;
    }
    add_to_doubles(sums + channel, plain[v], lanes);
    add_to_doubles(sums + norm.channels + channel, weighted[v], lanes);
  }
}

// Adds the sums over `pixels` pixels from `first` on to `sums`, two rows of all channels, a few
// pixels at a time, so that roundings do not grow with their number. Four vectors of channels side
// by side take 0.87 of the time that one after the other does, each from pixels far apart.
template <typename Terms>
inline void add_sums(const Terms& norm, int64_t first, int64_t pixels, double* sums) {
  constexpr int64_t kVectors = 4;
  for (int64_t done = 0; done < pixels; done += kSumPixels) {
    const int64_t at = first + done, some = smaller(kSumPixels, pixels - done);
    int64_t channel = 0;
    for (; channel + kVectors * kLanes <= norm.channels; channel += kVectors * kLanes)
      add_sums_of<kVectors>(norm, at, some, channel, kLanes, sums);
    for (; channel < norm.channels; channel += kLanes)
      add_sums_of<1>(norm, at, some, channel, smaller(kLanes, norm.channels - channel), sums);
  }
}

inline void add_norm_sums(const Norm& norm, int64_t first, int64_t pixels, double* sums) {
  add_sums(norm, first, pixels, sums);
}
inline void add_deviations(const Deviations& of, int64_t first, int64_t pixels, double* sums) {
  add_sums(of, first, pixels, sums);
}

// Writes the gradient of `pixels` pixels from `first` on; `d_residual` may be null.
inline void norm_gradient(const Norm& norm, const NormCoefficients& by, int64_t first,
                          int64_t pixels, float* d_conv, float* d_residual) {
  for (int64_t p = first; p < first + pixels; ++p)
    for (int64_t channel = 0; channel < norm.channels; channel += kLanes) {
      const int64_t count = smaller(kLanes, norm.channels - channel);
      const NormVector at(norm, p, channel, count);
      const int64_t to = p * norm.channels + channel;
      const Vec a = load_some(by.a + channel, count), b = load_some(by.b + channel, count);
      store_some(d_conv + to, a * at.g + (b * at.deviation + load_some(by.d + channel, count)),
                 count);
      if (d_residual) store_some(d_residual + to, at.g, count);
    }
}

}  // namespace
}  // namespace resfuse
