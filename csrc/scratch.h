// One thread's scratch memory, as the algorithms see it.

#pragma once

#include "plan.h"
#include "tile.h"

namespace resfuse {
namespace {

struct Scratch {
  float* panel;  // packed weights, Plan::panel_floats
  float* work;   // Plan::work_floats: windows that hang over an edge, or Winograd's transforms
  alignas(64) float acc[kMR * kNR];       // accumulators, between two passes
  const float* rows[kMR * kMaxPassRuns];  // Tile::rows
  double sums[3][kNR];                    // Tile::sums
};

constexpr size_t kAlign = 64;
inline size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The struct, then the packed panel, then the work space.
inline size_t scratch_bytes(const Plan& plan) {
  return aligned(sizeof(Scratch)) + aligned(plan.panel_floats * sizeof(float)) +
         aligned(plan.work_floats * sizeof(float));
}

inline Scratch& lay_out(const Plan& plan, char* bytes) {
  auto& scratch = *reinterpret_cast<Scratch*>(bytes);
  scratch.panel = reinterpret_cast<float*>(bytes + aligned(sizeof(Scratch)));
  scratch.work = scratch.panel + aligned(plan.panel_floats * sizeof(float)) / sizeof(float);
  return scratch;
}

alignas(64) const float kZeros[kMaxPassFloats] = {};  // what lies outside the image

}  // namespace
}  // namespace resfuse
