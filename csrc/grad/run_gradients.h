// Runs the gradients of a convolution on the ISA in use, on the threads that it is given.

#pragma once

#include "base/pieces.h"
#include "conv/run.h"

namespace resfuse {

inline void fill_zeros(float* to, int64_t floats, int64_t max_threads, const Schedule& schedule) {
  in_pieces(floats, kPieceFloats, floats > 4 * kPieceFloats, max_threads, schedule,
            [&](int64_t first, int64_t count) { std::fill_n(to + first, count, 0.0f); });
}

inline bool run_input_gradient(const Isa& isa, const Conv& conv, const float* d_out,
                               const float* kernel, float* d_in, Choice choice, int64_t max_threads,
                               const Schedule& schedule) {
  const Jobs jobs = make_jobs(mirrored(conv), true, isa.tile, machine_in_use(),
                              {choice, false, false, max_threads});
  return run(isa, jobs, {d_out, kernel, d_in}, schedule);
}

// Adds the chunks' results, `chunks.size` floats apart, in their order, in `to`.
inline void add_results(const float* results, Cut chunks, int64_t floats, float* to,
                        int64_t max_threads, const Schedule& schedule) {
  const auto add = [&](int64_t first, int64_t count) {
    std::copy_n(results + first, count, to + first);
    for (int64_t chunk = 1; chunk < chunks.count; ++chunk)
      for (int64_t k = first; k < first + count; ++k) to[k] += results[chunk * chunks.size + k];
  };
  in_pieces(floats, 1024, chunks.count * floats > 4 * kPieceFloats, max_threads, schedule, add);
}

// Adds the chunks' results of a phase in its taps' rows of d_kernel.
inline void add_phase(const Phase& phase, const float* results, int64_t chunks, float* d_kernel,
                      int64_t max_threads, const Schedule& schedule) {
  const int64_t tap_floats = phase.conv.group_in() * phase.conv.out_c;
  const Cut cut{phase.conv.taps() * tap_floats, chunks};
  if (phase.taps.are_all())
    return add_results(results, cut, cut.size, d_kernel, max_threads, schedule);
  for_each_tap(phase.taps, [&](int64_t index, int64_t tap) {
    add_results(results + index * tap_floats, cut, tap_floats, d_kernel + tap * tap_floats,
                max_threads, schedule);
  });
}

// Writes a phase's weight gradient to its taps' rows of d_kernel.
inline bool run_weight_phase(const Isa& isa, const Phase& phase, const float* in,
                             const float* d_out, float* d_kernel, Choice choice,
                             int64_t max_threads, const Schedule& schedule) {
  WeightJob job{phase.conv, phase.scatter, make_weight_plan(phase.conv, isa.tile, choice),
                in,         d_out,         d_kernel};
  const int64_t chunks = job.plan.chunks.count;
  const bool in_place = chunks == 1 && phase.taps.are_all();
  const int64_t floats = chunks * phase.conv.reduction() * phase.conv.out_c;
  const Lease results = Lease::shared(in_place ? 0 : static_cast<size_t>(floats) * sizeof(float));
  if (!in_place) job.d_kernel = reinterpret_cast<float*>(results.data());
  if (!job.d_kernel) return false;
  const bool done = run_units(
      job.plan.units(), weight_threads(phase.conv, job.plan, max_threads),
      job.plan.work_floats * sizeof(float), schedule,
      [&](Memory& memory, int64_t unit) { isa.run_weight_unit(job, memory.bytes, unit); });
  if (!in_place) add_phase(phase, job.d_kernel, chunks, d_kernel, max_threads, schedule);
  return done;
}

// False when there is no memory.
inline bool run_weight_gradient(const Isa& isa, const Conv& conv, const float* in,
                                const float* d_out, float* d_kernel, Choice choice,
                                int64_t max_threads, const Schedule& schedule) {
  const std::vector<Phase> parts = weight_phases(conv, isa.tile, choice);
  const bool whole = conv.pixels() > 0 && parts.front().taps.are_all();
  // No output meets some taps.
  if (!whole) fill_zeros(d_kernel, conv.reduction() * conv.out_c, max_threads, schedule);
  bool done = true;
  for (const Phase& phase : parts)
    if (phase.conv.taps() > 0 && phase.conv.pixels() > 0)
      done =
          done && run_weight_phase(isa, phase, in, d_out, d_kernel, choice, max_threads, schedule);
  return done;
}

}  // namespace resfuse
