// What every isa_*.cc offers, made from the templates: included once by each, under its own flags.

#pragma once

#include "direct.h"
#include "isa.h"
#include "peak.h"
#include "winograd.h"

namespace resfuse {
namespace {

template <typename Algorithm>
void run_blocks(const Job& job, Memory& memory, int64_t unit) {
  const Plan& plan = job.plan;
  const int64_t panel = unit / plan.units_per_panel;
  const Algorithm algorithm(job, lay_out(plan, memory.bytes), panel);
  if (memory.panel != panel) algorithm.pack();
  memory.panel = panel;
  const int64_t first = unit % plan.units_per_panel * plan.unit_blocks;
  const int64_t last = first + plan.unit_blocks;
  for (int64_t block = first; block < last && block < plan.blocks; ++block)
    algorithm.run_block(block);
}

inline void run_unit(const Job& job, Memory& memory, int64_t unit) {
  if (job.plan.winograd)
    run_blocks<Winograd>(job, memory, unit);
  else
    run_blocks<Direct>(job, memory, unit);
}

constexpr Isa make_isa(const char* name) {
  return {name, {kMR, kNR}, scratch_bytes, run_unit, multiply_add};
}

}  // namespace
}  // namespace resfuse
