// Elementary functions of vectors, in floats: each lane by itself, without branches or tables, so
// that the bits depend neither on the lane nor on what is in the others. Infinities, NaN and
// numbers too small to be normal come out as they should; errors against the exact value, at most,
// in units in the last place, are 2 but where said (tests/kernel/test_math.py measures all of
// them).
//
// Nothing here needs a multiply-add to be fused. Coefficients are of least maximal relative error
// in float, by iteratively reweighted least squares (Lawson 1961) at Chebyshev points.

#pragma once

#include "base/lanes.h"

namespace resfuse {
namespace {

// c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.
template <int N>
inline Vec polynomial(Vec x, const float (&c)[N]) {
  Vec sum = splat(c[N - 1]);
#pragma GCC unroll 16
  for (int n = N - 2; n >= 0; --n) sum = sum * x + c[n];
  return sum;
}

// ln 2 in two parts: the first has 9 bits, so its product with a whole number below 2^15 is exact.
constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// x = n ln 2 + r with whole n and |r| at most (ln 2) / 2.
struct Reduced {
  Vec n, r;
};
inline Reduced reduce(Vec x) {
  const Vec n = nearest(x * kLog2E);
  return {n, x - n * kLn2High - n * kLn2Low};
}

// e^r - 1 for |r| up to (ln 2) / 2, of degree 6; off by 2^-28, relatively.
inline Vec expm1_reduced(Vec r) {
  constexpr float kTerms[] = {0.49999994f, 0.1666652f, 0.04166839f, 0.008368746f, 0.0013814522f};
  return r + r * r * polynomial(r, kTerms);
}

// The first 12 bits of numbers, whose products are exact.
inline Vec first_bits(Vec x) { return (Vec)((Lanes)x & static_cast<int32_t>(0xfffff000)); }

// Below -104 the result is zero, and above 89 infinite.
inline Vec exp(Vec x) {
  const Reduced x_is = reduce(clamp(x, -104.0f, 89.0f));
  return scaled(1.0f + expm1_reduced(x_is.r), x_is.n);
}

inline Vec exp2(Vec x) {
  const Vec inside = clamp(x, -151.0f, 129.0f), n = nearest(inside);
  return scaled(1.0f + expm1_reduced((inside - n) * 0.693147181f), n);
}

// 2^n (e^r - 1) + 2^n - 1, half of which does not overflow before it should. Below -18 it is -1.
inline Vec expm1(Vec x) {
  const Reduced x_is = reduce(clamp(x, -18.0f, 89.0f));
  const Vec half = scaled_normal(splat(0.5f), x_is.n);
  const Vec result = half * expm1_reduced(x_is.r) + (half - 0.5f);
  // Zeros keep their sign, and what is not normal its bits.
  return absolute(x) < 1e-8f ? x : result + result;
}

// log(2^e (1 + f)) for 1 + f from sqrt(1/2) to sqrt(2):  f - f^2/2 + f^3 Q(f) + e ln 2.
inline Vec log_of(Vec e, Vec f) {
  constexpr float kTerms[] = {0.33333313f,  -0.2500001f,  0.02000212f * 10,
                              -0.16667996f, 0.14219551f,  -0.12405591f,
                              0.118881747f, -0.11675641f, 0.06746601f};
  const Vec square = f * f;
  const Vec rest = f * square * polynomial(f, kTerms) + e * kLn2Low - 0.5f * square;
  return f + rest + e * kLn2High;
}

// a = 2^e m with m from sqrt(1/2) to sqrt(2), for normal a: the exponent of a / sqrt(1/2).
inline Lanes exponent(Vec a) { return (Lanes)((Bits)a - 0x3f3504f3u) >> 23; }

// Minus infinity at 0, NaN below; infinity and NaN stay.
inline Vec log_or_special(Vec x, Vec at, Vec result) {
  result = at > 3.4028235e38f ? at : result;
  result = at == 0.0f ? splat(-__builtin_inff()) : result;
  return at >= 0.0f ? result : (at < 0.0f ? splat(__builtin_nanf("")) : x);
}

inline Vec log(Vec x) {
  const Lanes is_small = x < 1.17549435e-38f;
  const Vec normal = is_small ? x * 8388608.0f : x;
  const Lanes e = exponent(normal);
  const Vec mantissa = add_to_exponent(normal, -e);
  const Lanes whole = is_small ? e - 23 : e;
  return log_or_special(x, x, log_of(__builtin_convertvector(whole, Vec), mantissa - 1.0f));
}

// With what 1 + x loses to rounding, so that small x count in full.
inline Vec log1p(Vec x) {
  const Vec sum = 1.0f + x;
  const Vec lost = x < 1.0f ? x - (sum - 1.0f) : 1.0f - (sum - x);
  const Lanes e = exponent(sum);
  const Vec mantissa = add_to_exponent(sum, -e);
  const Vec f = (mantissa - 1.0f) + scaled(lost, -__builtin_convertvector(e, Vec));
  const Vec result = log_or_special(x, sum, log_of(__builtin_convertvector(e, Vec), f));
  return absolute(x) < 1e-8f ? x : result;
}

// e^-(x + rest) for x up to 88.4 and a rest that is little, or none, of degree 5; off by 2^-23,
// relatively. From 87.7 on it is zero.
template <typename... Rest>
inline Vec exp_of_minus(Vec x, Rest... rest) {
  // The signs alternate, which saves to negate x.
  constexpr float kTerms[] = {1.0000001f,   -0.9999997f,  0.49998891f,
                              -0.16667576f, 0.041915625f, -0.008297529f};
  // The last bits of a sum with this are those of a whole number, 127 + n: the exponent of 2^n.
  constexpr float kRoundToExponent = kRound + 127.0f;
  const Vec rounded = x * -kLog2E + kRoundToExponent, n = rounded - kRoundToExponent;
  const Vec r = ((x + n * kLn2High + n * kLn2Low) + ... + rest);
  return polynomial(r, kTerms) * (Vec)((Bits)rounded << 23);
}

// 1 / (1 + e^-x). Where the result is not normal, below -87.3, it is less than 2^-126, as it should
// be, and no more is said: XLA's threads take such numbers for zero.
inline Vec logistic(Vec x) { return reciprocal(1.0f + exp_of_minus(clamp(x, -88.3f, 87.0f))); }

inline Vec silu(Vec x) { return x * logistic(x); }

// x (1 + tanh(u)) / 2 = x logistic(2 u)  for  u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Vec gelu_by_tanh(Vec x) {
  return x * logistic(x * (1.595769122f + 0.0713548163f * (x * x)));
}

// e / (2 - e) for e = 1 - e^(-2 |x|), which is 1 from |x| = 9 on.
inline Vec tanh(Vec x) {
  const Reduced twice = reduce(upper(splat(-20.0f), absolute(x) * -2.0f));
  const Vec power = scaled_normal(splat(1.0f), twice.n);
  const Vec e = (1.0f - power) - power * expm1_reduced(twice.r);
  return with_sign(e * reciprocal(2.0f - e), x);
}

// x + x P(x^2) up to 0.92, from there 1 - e^(a Q(a)) for a = |x|; beyond 4 that is 1. The terms
// are N. Juffa's (https://stackoverflow.com/a/35148199).
inline Vec erf(Vec x) {
  constexpr float kP[] = {1.28379166e-1f,  -3.76125336e-1f, 1.12819925e-1f,
                          -2.67681349e-2f, 4.99119423e-3f,  -5.96761703e-4f};
  constexpr float kQ[] = {-1.12871754f,    -6.34846687e-1f, -1.06777877e-1f, 2.42546219e-2f,
                          -3.88396438e-3f, 3.83197126e-4f,  -1.72853470e-5f};
  const Vec a = lower(splat(4.0f), absolute(x));
  const Reduced power = reduce(a * polynomial(a, kQ));
  const Vec large = 1.0f - scaled_normal(1.0f + expm1_reduced(power.r), power.n);
  const Vec small = x + x * polynomial(x * x, kP);
  return a > 0.927734375f ? with_sign(large, x) : small;
}

// For a = |x|, much as M. M. Shepherd and J. G. Laframboise have it (Mathematics of Computation 36,
// 1981), who divide by 1 + 2a:
//
//   erfc(a) = e^(-a^2) P(q) / (a + 2),    q = (a - 2) / (a + 2)
//
// a^2 counts in more bits than a float has: with h, the first 12 bits of a, h^2 is exact, and the
// rest is (a - h) (a + h).
inline Vec erfc(Vec x) {
  constexpr float kP[] = {1.02158272f,    -0.687160909f,    0.279469997f,
                          -0.0364358909f, -0.0214853641f,   0.00643940037f,
                          0.00298252236f, -0.000756557914f, -0.000463927834f};
  const Vec a = lower(splat(10.06f), absolute(x));
  const Vec high = first_bits(a);
  const Reduced square_is = reduce(-high * high);
  const Vec r = square_is.r - (a - high) * (a + high);
  const Vec power = 1.0f + expm1_reduced(r);
  const Vec over = reciprocal(a + 2.0f);
  const Vec result = scaled(power * polynomial((a - 2.0f) * over, kP) * over, square_is.n);
  return x < 0.0f ? 2.0f - result : result;
}

// x erfc(-x / sqrt(2)) / 2, in the same way: with q = (a - 3) / (a + 3)
//
//   erfc(a / sqrt(2)) / 2 = e^(-a^2 / 2) P(q) / (a + 3)
//
// which is zero where it is not normal, beyond 13.2.
inline Vec gelu(Vec x) {
  constexpr float kP[] = {0.729083657f,   -0.50933218f,     0.230019361f,
                          -0.0472568274f, -0.0104798311f,   0.00692519872f,
                          0.00107588735f, -0.000903567299f, -0.000266369054f};
  const Vec a = lower(splat(13.27f), absolute(x));
  const Vec high = first_bits(a), half = 0.5f * high;
  const Vec over = reciprocal(a + 3.0f);
  const Vec tail = polynomial((a - 3.0f) * over, kP) * over *
                   exp_of_minus(half * high, (a - high) * (half + 0.5f * a));
  return x * (x < 0.0f ? tail : 1.0f - tail);
}

}  // namespace
}  // namespace resfuse
