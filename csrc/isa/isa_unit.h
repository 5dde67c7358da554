// What every isa_*.cc offers, made from the templates: included once by each, under its own flags.

#pragma once

#include "conv/direct.h"
#include "conv/winograd.h"
#include "grad/winograd_weights.h"
#include "isa/isa.h"
#include "isa/peak.h"
#include "norm/layer_norm_pass.h"
#include "norm/norm_passes.h"
#include "pool/pool_passes.h"

namespace resfuse {
namespace {

inline void run_unit(const Job& job, Memory& memory, int64_t index) {
  const Unit unit = unit_at(job.plan, index);
  if (job.plan.algorithm != Algorithm::kWinograd) return Direct(job, memory, unit).run();
  Winograd(job, memory, unit).run();
}

inline void run_weight_unit(const WeightJob& job, char* work, int64_t index) {
  const WeightUnit unit = weight_unit_at(job.conv, job.plan, index);
  auto* const floats = reinterpret_cast<float*>(work);
  if (job.plan.algorithm != Algorithm::kWinograd) return WeightGradient(job, floats, unit).run();
  WinogradWeights(job, floats, unit).run();
}

constexpr Isa make_isa(const char* name) {
  return {name,          {kMR, kNR},        scratch_bytes,   run_unit,
          pool_part,     max_pool_gradient, run_weight_unit, normalize,
          add_norm_sums, add_deviations,    norm_gradient,   layer_norm,
          multiply_add};
}

}  // namespace
}  // namespace resfuse
