// The register tile's size on this instruction set.

#pragma once

#include "base/simd.h"

namespace resfuse {
namespace {

constexpr int kVectors = 2;
constexpr int kNR = kVectors * kLanes;

// 12 x 2 accumulators of 32 registers, or 6 x 2 of 16, leave room for two vectors of weights and
// for the broadcast inputs. 12 pointers to rows also just fit into x86's general registers.
constexpr int kMR = kRegisters == 32 ? 12 : 6;

// The rows of the highest tiles, those of a single vector: a multiply-add takes four cycles and two
// start in each, so 8 sums at least have to be under way. SSE2 serves old processors, and is spared
// the code.
constexpr int kMaxMR = kLanes > 4 ? 12 : kMR;
static_assert(kMR <= kMaxMR && kMaxMR <= kVectors * kMR, "a tile's sums have room in memory");

}  // namespace
}  // namespace resfuse
