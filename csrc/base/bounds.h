// The bounds within which a number is kept; NaN, which bounds nothing, where there is none.

#pragma once

namespace resfuse {

struct Bounds {
  float low, high;
};

constexpr float kUnbounded = __builtin_nanf("");
constexpr Bounds kNoBounds = {kUnbounded, kUnbounded};

namespace {

inline bool is_bound(float number) { return number == number; }

}  // namespace
}  // namespace resfuse
