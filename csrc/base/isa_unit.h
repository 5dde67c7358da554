// What every isa_*.cc offers, made from the templates: included once by each, under its own flags.

#pragma once

#include "base/isa.h"
#include "base/peak.h"
#include "conv/direct.h"
#include "conv/winograd.h"
#include "grad/winograd_weights.h"
#include "norm/norm_passes.h"
#include "pool/max_pool.h"

namespace resfuse {
namespace {

inline void run_unit(const Job& job, Memory& memory, int64_t index) {
  const Unit unit = unit_at(job.plan, index);
  const float* packed = packed_panels(job, memory, unit);
  if (job.plan.algorithm == Algorithm::kWinograd)
    return with_transforms(job.conv.stride_h, job.plan.tile_output,
                           [&](auto f) { Winograd<decltype(f)>(job, memory, unit, packed).run(); });
  Scratch& scratch = lay_out(job.plan, memory.bytes);
  const Layout& layout = job.plan.layout;
  const int64_t panel_floats = layout.panel_floats();
  const BlockWindows windows(job, scratch.work);
  for (int64_t block = unit.first_block; block < unit.last_block; ++block) {
    if (memory.prepared_block != block) windows.prepare(block);
    memory.prepared_block = block;
    for (int64_t panel = unit.first_panel; panel < unit.last_panel; ++panel)
      Direct(job, scratch, windows, panel, packed + (panel - unit.first_panel) * panel_floats)
          .run_block(block);
  }
}

constexpr Isa make_isa(const char* name) {
  return {name,          {kMR, kNR},        scratch_bytes,   run_unit,
          max_pool,      max_pool_gradient, run_weight_unit, normalize,
          add_norm_sums, norm_gradient,     multiply_add};
}

}  // namespace
}  // namespace resfuse
