// The operations of a program on vectors, as JAX has them. Truth is 1, falsehood 0.

#pragma once

#include "base/math.h"

namespace resfuse {
namespace {

inline Vec as_number(Lanes mask) { return mask ? splat(1.0f) : Vec{}; }

inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec subtract(Vec a, Vec b) { return a - b; }
inline Vec multiply(Vec a, Vec b) { return a * b; }
inline Vec multiply_and_add(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec divide(Vec a, Vec b) { return a / b; }
inline Vec negate(Vec a) { return -a; }

// NaN of either passes, which a comparison alone would lose.
inline Vec maximum(Vec a, Vec b) { return a != a ? a : upper(a, b); }
inline Vec minimum(Vec a, Vec b) { return a != a ? a : lower(a, b); }

// The bounds are numbers, and NaN stays.
inline Vec bounded(Vec low, Vec a, Vec high) { return lower(high, upper(low, a)); }
inline Vec add_and_bound(Vec a, Vec b, Vec low, Vec high) { return bounded(low, a + b, high); }

inline Vec rsqrt(Vec a) { return 1.0f / sqrt(a); }
// Zeros keep their sign, and NaN passes.
inline Vec sign(Vec a) { return a > 0.0f ? splat(1.0f) : (a < 0.0f ? splat(-1.0f) : a); }

inline Vec is_greater(Vec a, Vec b) { return as_number(a > b); }
inline Vec is_at_least(Vec a, Vec b) { return as_number(a >= b); }
inline Vec is_less(Vec a, Vec b) { return as_number(a < b); }
inline Vec is_at_most(Vec a, Vec b) { return as_number(a <= b); }
inline Vec is_equal(Vec a, Vec b) { return as_number(a == b); }
inline Vec is_different(Vec a, Vec b) { return as_number(a != b); }
inline Vec is_finite(Vec a) { return as_number(a - a == 0.0f); }

inline Vec both(Vec a, Vec b) { return a * b; }
inline Vec either(Vec a, Vec b) { return upper(a, b); }
inline Vec negation(Vec a) { return 1.0f - a; }
inline Vec select(Vec mask, Vec otherwise, Vec chosen) { return mask != 0.0f ? chosen : otherwise; }
inline Vec select_greater(Vec a, Vec b, Vec otherwise, Vec chosen) {
  return a > b ? chosen : otherwise;
}
inline Vec select_at_least(Vec a, Vec b, Vec otherwise, Vec chosen) {
  return a >= b ? chosen : otherwise;
}

}  // namespace
}  // namespace resfuse
