// Runs a planned job on the ISA in use, on the threads that it is given.

#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "conv/jobs.h"
#include "conv/phases.h"
#include "isa/isa.h"

namespace resfuse {

// Packs all of a kernel's taps, class by class (phases.h); `mirrored` as in Taps.
template <typename Schedule>
void pack_all(const Conv& conv, const Layout& layout, bool mirrored, const float* kernel,
              float* packed, int64_t max_threads, Schedule schedule) {
  const std::vector<Taps> classes = tap_classes(conv, mirrored);
  const auto write = [&](int64_t panel) {
    float* const to = packed + panel * layout.panel_stride();
    for (const Taps& taps : classes)
      pack_panel(conv, layout, taps, kernel, panel, to + taps.before * layout.tap_floats());
  };
  parallel_for(layout.panels, max_threads, schedule, [&] { return write; });
}

// Calls `run_unit(memory, unit)` for each unit, with so much scratch for each thread. False when a
// thread found no memory; the output is then incomplete.
template <typename Schedule, typename RunUnit>
bool run_units(int64_t units, int64_t threads, size_t scratch_bytes, Schedule schedule,
               const RunUnit& run_unit) {
  std::atomic<bool> out_of_memory{false};
  struct Worker {
    const RunUnit& run_unit;
    std::atomic<bool>& out_of_memory;
    Lease lease;
    Memory memory{lease.data()};

    void operator()(int64_t unit) {
      if (memory.bytes)
        run_unit(memory, unit);
      else
        out_of_memory = true;
    }
  };
  parallel_for(units, threads, schedule,
               [&] { return Worker{run_unit, out_of_memory, Lease::scratch(scratch_bytes)}; });
  return !out_of_memory;
}

// False when there is no memory.
template <typename Schedule>
bool run(const Isa& isa, const Jobs& all, const Operands& operands, Schedule schedule) {
  const bool packs = all.packs();
  const Lease lease = Lease::shared(packs ? all.layout.bytes() : 0);
  auto* const packed = reinterpret_cast<float*>(lease.data());
  if (packs && !packed) return false;
  if (packs)
    pack_all(all.conv, all.layout, all.mirrored, operands.kernel, packed, all.threads, schedule);
  const std::vector<Job> jobs = all.with(operands, packed);
  size_t scratch = 0;
  for (const Job& job : jobs) scratch = std::max(scratch, isa.scratch_bytes(job.plan));
  return run_units(all.units(), all.threads, scratch, schedule, [&](Memory& memory, int64_t unit) {
    const auto end = std::upper_bound(all.ends.begin(), all.ends.end(), unit);
    const auto index = static_cast<size_t>(end - all.ends.begin());
    if (memory.job != index) memory = {memory.bytes, index};
    isa.run_unit(jobs[index], memory, unit - (*end - jobs[index].plan.units()));
  });
}

}  // namespace resfuse
