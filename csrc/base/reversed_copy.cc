#include "base/reversed_copy.h"

#include <algorithm>
#include <type_traits>

namespace resfuse {

// Some rows of `from` are read side by side, each in its order, and written as whole cache lines.
// In the order of `to` each number would come from another line, gone when its neighbour is wanted.
void copy_reversed(const float* from, int64_t a_size, int64_t b_size, int64_t c_size, float* to) {
  constexpr int64_t kRows = 16;  // floats of a cache line
  const int64_t row_size = b_size * c_size;
  const auto copy_rows = [=](int64_t first, auto rows) {
    for (int64_t b = 0; b < b_size; ++b)
      for (int64_t c = 0; c < c_size; ++c) {
        const float* const in = from + first * row_size + b * c_size + c;
        float* const out = to + (c * b_size + b) * a_size + first;
        for (int64_t a = 0; a < rows; ++a) out[a] = in[a * row_size];
      }
  };
  if (a_size == 1 && (b_size == 1 || c_size == 1)) {
    std::copy_n(from, row_size, to);
    return;
  }
  int64_t first = 0;
  for (; first + kRows <= a_size; first += kRows)
    copy_rows(first, std::integral_constant<int64_t, kRows>());
  if (first < a_size) copy_rows(first, a_size - first);
}

}  // namespace resfuse
