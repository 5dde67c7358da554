// Runs a planned job on the ISA in use, on the threads that it is given.

#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "conv/jobs.h"
#include "conv/phases.h"
#include "isa/isa.h"
#include "pool/run_pool.h"

namespace resfuse {

// Packs all of a kernel's taps, class by class (phases.h); `mirrored` as in Taps.
inline void pack_all(const Conv& conv, const Layout& layout, bool mirrored, const float* kernel,
                     float* packed, int64_t max_threads, const Schedule& schedule) {
  const std::vector<Taps> classes = tap_classes(conv, mirrored);
  const auto write = [&](int64_t panel) {
    float* const to = packed + panel * layout.panel_stride();
    for (const Taps& taps : classes)
      pack_panel(conv, layout, taps, kernel, panel, to + taps.before * layout.tap_floats());
  };
  parallel_for(layout.panels, max_threads, schedule, write);
}

using RunUnit = std::function<void(Memory&, int64_t unit)>;

// Units that need all of the stage before. Their function must not throw.
struct Stage {
  int64_t units;
  RunUnit run_unit;
};

// Runs the stages on so many threads, each with so much scratch. False when one found no memory;
// the output is then incomplete.
inline bool run_stages(const std::vector<Stage>& stages, int64_t threads, size_t scratch_bytes,
                       const Schedule& schedule) {
  std::atomic<bool> out_of_memory{false};
  struct Worker {
    const std::vector<Stage>& stages;
    std::atomic<bool>& out_of_memory;
    Lease lease;
    size_t last = 0;
    Memory memory{lease.data()};

    void operator()(size_t stage, int64_t unit) {
      if (stage != std::exchange(last, stage)) memory = {lease.data()};
      if (memory.bytes)
        stages[stage].run_unit(memory, unit);
      else
        out_of_memory = true;
    }
  };
  std::vector<int64_t> units;
  units.reserve(stages.size());
  for (const Stage& stage : stages) units.push_back(stage.units);
  parallel_stages(units, threads, schedule,
                  [&] { return Worker{stages, out_of_memory, Lease::scratch(scratch_bytes)}; });
  return !out_of_memory;
}

// A single stage.
inline bool run_units(int64_t units, int64_t threads, size_t scratch_bytes,
                      const Schedule& schedule, const RunUnit& run_unit) {
  return run_stages({{units, run_unit}}, threads, scratch_bytes, schedule);
}

// Adds up the pixels of each row of a plane's outputs.
inline Pool pool_of_rows(const Conv& conv) {
  Pool pool{Reduction::kSum, conv.batch, conv.out_c, {}, {}, {}};
  pool.h.in = pool.h.out = conv.h.out;
  pool.w.in = pool.w.kernel = conv.w.out;
  return pool;
}

// The same for the whole rows that a unit has written, while its thread has them in its cache.
inline void sum_rows(const Isa& isa, const Job& job, int64_t index) {
  const auto& [conv, plan] = std::tie(job.conv, job.plan);
  const Unit unit = unit_at(plan, index);
  const int64_t end = std::min(unit.last_block * plan.blocks.size, conv.pixels());
  const Panel last = panel_at(conv, plan.layout, unit.last_panel - 1);
  isa.pool_part(
      pool_of_rows(conv), job.operands.out, job.operands.row_sums,
      {unit.first_block * plan.blocks.size / conv.w.out, end / conv.w.out,
       panel_at(conv, plan.layout, unit.first_panel).channel, last.channel + last.columns});
}

inline Stage stage_of(const Isa& isa, const Windows& windows, const float* in, float* out) {
  return {windows.units, [&isa, windows, in, out](Memory&, int64_t unit) {
            pool_unit(isa, windows, in, out, unit);
          }};
}

// Adds the jobs' stage, and if they sum rows that no unit has whole, another for these.
inline void add_stages(const Isa& isa, const Jobs& all, const Operands& operands,
                       const float* packed, std::vector<Stage>& stages) {
  const bool sums_rows = operands.row_sums && all.have_whole_rows();
  auto run_unit = [&isa, &all, jobs = all.with(operands, packed), sums_rows](Memory& memory,
                                                                             int64_t unit) {
    const auto end = std::upper_bound(all.ends.begin(), all.ends.end(), unit);
    const auto index = static_cast<size_t>(end - all.ends.begin());
    if (memory.job != index) memory = {memory.bytes, index};
    const int64_t of_job = unit - (*end - jobs[index].plan.units());
    isa.run_unit(jobs[index], memory, of_job);
    if (sums_rows) sum_rows(isa, jobs[index], of_job);
  };
  stages.push_back({all.units(), std::move(run_unit)});
  if (operands.row_sums && !sums_rows)
    stages.push_back(
        stage_of(isa, cut_windows(pool_of_rows(all.conv)), operands.out, operands.row_sums));
}

inline size_t scratch_bytes(const Isa& isa, const Jobs& all) {
  size_t scratch = 0;
  for (const PlannedPhase& phase : all.phases)
    scratch = std::max(scratch, isa.scratch_bytes(phase.plan));
  return scratch;
}

// False when there is no memory.
inline bool run(const Isa& isa, const Jobs& all, const Operands& operands,
                const Schedule& schedule) {
  const bool packs = all.packs();
  const Lease lease = Lease::shared(packs ? all.layout.bytes() : 0);
  auto* const packed = reinterpret_cast<float*>(lease.data());
  if (packs && !packed) return false;
  if (packs)
    pack_all(all.conv, all.layout, all.mirrored, operands.kernel, packed, all.threads, schedule);
  std::vector<Stage> stages;
  stages.reserve(2);
  add_stages(isa, all, operands, packed, stages);
  return run_stages(stages, all.threads, scratch_bytes(isa, all), schedule);
}

}  // namespace resfuse
