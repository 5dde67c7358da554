// Loops over the elements of an array, which threads share out in pieces.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "base/parallel.h"

namespace resfuse {

using PieceWork = std::function<void(int64_t first, int64_t count)>;

// Calls `work(first, count)` for pieces of `count` or fewer out of `total`; on one thread, if all
// of it is not worth waking another for.
inline void in_pieces(int64_t total, int64_t count, bool worth_waking, int64_t max_threads,
                      const Schedule& schedule, const PieceWork& work) {
  const int64_t pieces = (total + count - 1) / count;
  const auto piece = [&](int64_t index) {
    work(index * count, std::min(count, total - index * count));
  };
  parallel_for(pieces, worth_waking ? std::min(pieces, max_threads) : 1, schedule, piece);
}

constexpr int64_t kPieceFloats = 1 << 14;

}  // namespace resfuse
