// What every isa_*.cc offers, made from the templates: included once by each, under its own flags.

#pragma once

#include "direct.h"
#include "isa.h"
#include "peak.h"

namespace resfuse {
namespace {

constexpr size_t kAlign = 64;
inline size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Scratch, then the packed panel, then the windows.
inline size_t scratch_bytes(const Plan& plan) {
  return aligned(sizeof(Scratch)) + aligned(plan.panel_floats * sizeof(float)) +
         aligned(plan.window_floats * sizeof(float));
}

inline Scratch& lay_out(const Plan& plan, char* bytes) {
  auto& scratch = *reinterpret_cast<Scratch*>(bytes);
  scratch.panel = reinterpret_cast<float*>(bytes + aligned(sizeof(Scratch)));
  scratch.windows = scratch.panel + aligned(plan.panel_floats * sizeof(float)) / sizeof(float);
  return scratch;
}

inline void run_unit(const Job& job, Memory& memory, int64_t unit) {
  const int64_t panel = unit / job.plan.units_per_panel;
  const Unit work(job.conv, job.plan, job.operands, lay_out(job.plan, memory.bytes), panel);
  if (memory.panel != panel) work.pack();
  memory.panel = panel;
  const int64_t first = unit % job.plan.units_per_panel * job.plan.unit_blocks;
  const int64_t last = first + job.plan.unit_blocks;
  for (int64_t block = first; block < last && block < job.plan.blocks; ++block)
    work.run_block(block);
}

constexpr Isa make_isa(const char* name) {
  return {name, {kMR, kNR}, scratch_bytes, run_unit, multiply_add};
}

}  // namespace
}  // namespace resfuse
