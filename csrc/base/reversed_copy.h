// A copy whose axes are in reverse order: from torch's weights, with the outputs first, to ours.

#pragma once

#include <cstdint>

namespace resfuse {

// to[c][b][a] = from[a][b][c], of floats that may begin at any byte, as those in a file do.
void copy_reversed(const void* from, int64_t a_size, int64_t b_size, int64_t c_size, float* to);

}  // namespace resfuse
