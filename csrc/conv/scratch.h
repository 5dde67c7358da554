// One thread's scratch memory, as the algorithms see it.

#pragma once

#include "conv/plan.h"
#include "conv/tile.h"

namespace resfuse {
namespace {

struct Scratch {
  float* packed;  // the unit's panels, Plan::packed_floats, unless the weights came packed
  float* work;    // Plan::work_floats: windows that hang over an edge, or Winograd's transforms
  const float* rows[kMR * kMaxPassRuns];  // Tile::rows
  int64_t pixels[kMR];                    // Tile::pixels
  Sums sums[kMaxSums];                    // Tile::sums
  Registers registers;                    // of the epilogue's program
};

constexpr size_t kAlign = 64;
inline size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The struct, then the packed panels, then the work space.
inline size_t scratch_bytes(const Plan& plan) {
  return aligned(sizeof(Scratch)) + aligned(plan.packed_floats * sizeof(float)) +
         aligned(plan.work_floats * sizeof(float));
}

inline Scratch& lay_out(const Plan& plan, char* bytes) {
  auto& scratch = *reinterpret_cast<Scratch*>(bytes);
  scratch.packed = reinterpret_cast<float*>(bytes + aligned(sizeof(Scratch)));
  scratch.work = scratch.packed + aligned(plan.packed_floats * sizeof(float)) / sizeof(float);
  return scratch;
}

// Notes in a field of Memory what lies there from now on; false if it did already.
inline bool replace(int64_t& kept, int64_t index) {
  const bool is_new = kept != index;
  kept = index;
  return is_new;
}

// Packs a unit's panels, unless they came packed or are still there. Returns the first; the others
// follow.
inline const float* pack_unit(const Job& job, Memory& memory, const Unit& unit) {
  const Plan& plan = job.plan;
  if (plan.packing != Packing::kUnit)
    return job.operands.kernel + unit.first_panel * plan.layout.panel_stride();
  float* const packed = lay_out(plan, memory.bytes).packed;
  if (replace(memory.packed_panel, unit.first_panel))
    for (int64_t panel = unit.first_panel; panel < unit.last_panel; ++panel)
      pack_panel(job, panel, packed + (panel - unit.first_panel) * plan.layout.panel_stride());
  return packed;
}

}  // namespace
}  // namespace resfuse
