// What the operators of simd.h lack: bounds, signs, rounding to whole numbers, powers of two,
// reciprocals. Each lane by itself, without branches, so that the bits do not depend on the others.

#pragma once

#include "base/bounds.h"
#include "base/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace resfuse {
namespace {

// The larger and the lesser, b where either is NaN. Compilers know these instructions in the
// comparison too, but not where one side is a constant.
#if defined(__AVX512F__)
inline Vec upper(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
inline Vec lower(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
inline Vec upper(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
inline Vec lower(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__SSE__)
inline Vec upper(Vec a, Vec b) { return (Vec)_mm_max_ps((__m128)a, (__m128)b); }
inline Vec lower(Vec a, Vec b) { return (Vec)_mm_min_ps((__m128)a, (__m128)b); }
#else
inline Vec upper(Vec a, Vec b) { return a > b ? a : b; }
inline Vec lower(Vec a, Vec b) { return a < b ? a : b; }
#endif
// NaN stays, being the second of each, and for a bound it bounds nothing.
inline Vec clamp(Vec value, float low, float high) {
  return lower(splat(high), upper(splat(low), value));
}
inline Vec bounded(Bounds bounds, Vec value) { return clamp(value, bounds.low, bounds.high); }

inline Vec absolute(Vec a) { return (Vec)((Lanes)a & 0x7fffffff); }
inline Lanes sign_bit(Vec a) { return (Lanes)a & static_cast<int32_t>(0x80000000); }
// `magnitude`, which is not negative, with the sign of `a`.
inline Vec with_sign(Vec magnitude, Vec a) { return (Vec)((Lanes)magnitude | sign_bit(a)); }

inline Vec sqrt(Vec a) {
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) a[lane] = __builtin_sqrtf(a[lane]);
  return a;
}

// Adding and subtracting 3 * 2^22 rounds to the nearest integer what is below 2^22: beyond, floats
// are no finer.
constexpr float kRound = 12582912.0f;
inline Vec nearest(Vec a) { return a + kRound - kRound; }

// Beyond 2^23 all floats are whole, and NaN stays.
inline Vec round_even(Vec a) {
  const Vec magnitude = absolute(a);
  const Vec whole = magnitude + 8388608.0f - 8388608.0f;
  return magnitude < 8388608.0f ? with_sign(whole, a) : a;
}
inline Vec floor(Vec a) {
  const Vec whole = round_even(a);
  return whole > a ? whole - 1.0f : whole;
}
inline Vec ceil(Vec a) { return -floor(-a); }
inline Vec round_away(Vec a) {
  const Vec magnitude = absolute(a), whole = round_even(magnitude);
  return with_sign(magnitude - whole == 0.5f ? whole + 1.0f : whole, a);
}

// The bits of floats. They wrap around, as those of NaN and of other numbers without account do.
typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(uint32_t))));

// 2^n for whole n from -126 to 127.
inline Vec power_of_two(Lanes n) { return (Vec)(((Bits)n + 127u) << 23); }

// value * 2^n where value and result are normal.
inline Vec add_to_exponent(Vec value, Lanes n) { return (Vec)((Bits)value + ((Bits)n << 23)); }

// value * 2^n for whole n from -252 to 254, rounded where the result is not normal.
inline Vec scaled(Vec value, Vec n) {
#if defined(__AVX512F__)
  return (Vec)_mm512_scalef_ps((__m512)value, (__m512)n);
#else
  const Lanes whole = __builtin_convertvector(n, Lanes), half = whole >> 1;
  return value * power_of_two(half) * power_of_two(whole - half);
#endif
}

// value * 2^n for whole n, where both value and result are normal, or the result below that and of
// no account.
inline Vec scaled_normal(Vec value, Vec n) {
#if defined(__AVX512F__)
  return scaled(value, n);
#else
  return add_to_exponent(value, __builtin_convertvector(n, Lanes));
#endif
}

// 1 / a for a from 2^-125 to 2^125, and for NaN. One step of Newton's doubles the 14 bits that the
// processor knows; a division takes twice the time of all this.
inline Vec reciprocal(Vec a) {
#if defined(__AVX512F__)
  // Fused by name: near 2^125 the product by itself would be below the normal numbers.
  const __m512 guess = _mm512_rcp14_ps((__m512)a);
  const __m512 error = _mm512_fnmadd_ps((__m512)a, guess, _mm512_set1_ps(1.0f));
  return (Vec)_mm512_fmadd_ps(guess, error, guess);
#else
  return 1.0f / a;
#endif
}

}  // namespace
}  // namespace resfuse
