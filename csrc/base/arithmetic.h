// Integer arithmetic of sizes, which are positive.

#pragma once

#include <cstdint>

namespace resfuse {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t value, int64_t step) { return ceil_div(value, step) * step; }

// A whole cut into `count` pieces of `size` each, of which the last may be smaller.
struct Cut {
  int64_t size, count;
};

}  // namespace resfuse
