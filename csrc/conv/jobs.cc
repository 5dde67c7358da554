#include "conv/jobs.h"

#include <algorithm>

#include "conv/phases.h"
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
  for (const Job& job : jobs) blocks += job.plan.blocks.count;
  return blocks;
}

void Jobs::write_sums_to(double* sums) {
  for (Job& job : jobs) {
    job.operands.sums = sums;
    sums += job.plan.blocks.count * 3 * conv.out_c;
  }
}

Jobs make_jobs(const Conv& conv, bool mirrored, const Operands& operands, TileShape tile,
               const Machine& machine, const Request& request) {
  Jobs all{conv, mirrored, make_layout(conv, tile.nr), {}, {}, 1};
  const auto parts = phases(conv, mirrored, choose_parts(conv, tile, request.choice));
  double work = 0.0;
  for (const Phase& phase : parts) work += multiply_adds(phase.conv);
  Request of_phase = request;
  of_phase.max_threads = useful_threads(work, request.max_threads);
  for (const Phase& phase : parts) {
    const Plan plan = make_plan(phase.conv, phase.taps, tile, machine, of_phase);
    all.jobs.push_back({phase.conv, phase.taps, phase.scatter, plan, operands});
    all.ends.push_back(all.units() + plan.units());
  }
  all.threads = std::clamp<int64_t>(all.units(), 1, of_phase.max_threads);
  return all;
}

}  // namespace resfuse
