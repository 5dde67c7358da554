#include "conv/jobs.h"

#include <algorithm>

#include "conv/winograd_choice.h"

namespace resfuse {
namespace {

Parts choose_parts(const Conv& conv, TileShape tile, Choice choice) {
  const int64_t whole = products(conv, winograd_output(conv, tile, choice));
  const bool regions = choice != Choice::kWinograd && cutting_pays(conv, whole);
  return regions ? Parts::kRegions : Parts::kPhases;
}

}  // namespace

int64_t Jobs::blocks() const {
  int64_t blocks = 0;
  for (const PlannedPhase& phase : phases) blocks += phase.plan.blocks.count;
  return blocks;
}

bool Jobs::packs() const {
  return std::any_of(phases.begin(), phases.end(), [](const PlannedPhase& phase) {
    return phase.plan.packing == Packing::kCall;
  });
}

bool Jobs::have_whole_rows() const {
  const Plan& plan = phases.front().plan;
  const bool direct = phases.size() == 1 && plan.algorithm != Algorithm::kWinograd;
  return direct && (plan.blocks.count == 1 || plan.blocks.size % conv.w.out == 0);
}

std::vector<Job> Jobs::with(const Operands& operands, const float* packed) const {
  std::vector<Job> of_call;
  of_call.reserve(phases.size());
  double* sums = operands.sums;
  for (const PlannedPhase& phase : phases) {
    Job& job = of_call.emplace_back(phase, operands);
    if (job.plan.packing == Packing::kCall) job.operands.kernel = packed;
    if (job.plan.packing != Packing::kUnit)
      job.operands.kernel += job.taps.before * layout.tap_floats();
    if (!sums) continue;
    job.operands.sums = sums;
    sums += job.plan.blocks.count * 3 * conv.out_c;
  }
  return of_call;
}

PlannedPhase plan_phase(const Phase& phase, TileShape tile, const Machine& machine,
                        const Request& request) {
  return {phase, make_plan(phase.conv, phase.taps, tile, machine, request)};
}

Jobs make_jobs(const Conv& conv, bool mirrored, TileShape tile, const Machine& machine,
               const Request& request) {
  Jobs all{conv, mirrored, make_layout(conv, tile.nr), {}, {}, 1};
  const auto parts = phases(conv, mirrored, choose_parts(conv, tile, request.choice));
  double work = request.others;
  for (const Phase& phase : parts) work += work_of(phase.conv);
  Request of_phase = request;
  of_phase.max_threads = useful_threads(work, request.max_threads);
  for (const Phase& phase : parts) {
    all.phases.push_back(plan_phase(phase, tile, machine, of_phase));
    all.ends.push_back(all.units() + all.phases.back().plan.units());
  }
  all.threads = std::clamp<int64_t>(all.units(), 1, of_phase.max_threads);
  return all;
}

}  // namespace resfuse
