// Runs a planned job on the ISA in use, on the threads that it is given.

#pragma once

#include <atomic>

#include "base/memory.h"
#include "base/parallel.h"
#include "isa/isa.h"

namespace resfuse {

// Writes all of a layout's panels, `pack(index, to)` each.
template <typename Pack, typename Schedule>
void pack_all(const Layout& layout, float* packed, const Pack& pack, int64_t max_threads,
              Schedule schedule) {
  const auto write = [&](int64_t panel) { pack(panel, packed + panel * layout.panel_floats()); };
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
bool run(const Isa& isa, Job job, Schedule schedule) {
  const Layout& layout = job.plan.layout;
  const bool packs = job.plan.packing == Packing::kCall;
  const Lease lease = Lease::weights(packs ? layout.bytes() : 0);
  if (packs) {
    auto* const packed = reinterpret_cast<float*>(lease.data());
    if (!packed) return false;
    const auto pack = [&](int64_t panel, float* to) { pack_panel(job, panel, to); };
    pack_all(layout, packed, pack, job.plan.threads, schedule);
    job.operands.kernel = packed;
  }
  return run_units(job.plan.units(), job.plan.threads, isa.scratch_bytes(job.plan), schedule,
                   [&](Memory& memory, int64_t unit) { isa.run_unit(job, memory, unit); });
}

}  // namespace resfuse
