// Runs the gradients of a convolution on the ISA in use, on the threads that it is given.

#pragma once

#include "base/pieces.h"
#include "conv/run.h"

namespace resfuse {

template <typename Schedule>
void fill_zeros(float* to, int64_t floats, int64_t max_threads, Schedule schedule) {
  in_pieces(floats, kPieceFloats, floats > 4 * kPieceFloats, max_threads, schedule,
            [&](int64_t first, int64_t count) { std::fill_n(to + first, count, 0.0f); });
}

template <typename Schedule>
bool run_input_gradient(const Isa& isa, const Conv& conv, const float* d_out, const float* kernel,
                        float* d_in, Choice choice, int64_t max_threads, Schedule schedule) {
  Jobs jobs = make_jobs(mirrored(conv), true, {d_out, kernel, d_in}, isa.tile, machine_in_use(),
                        {choice, false, false, max_threads});
  return run(isa, jobs, schedule);
}

// Adds the chunks' results, `stride` floats apart, in their order, in `to`, which may be the first.
template <typename Schedule>
void add_results(const float* results, Cut chunks, int64_t floats, float* to, int64_t max_threads,
                 Schedule schedule) {
  const auto add = [&](int64_t first, int64_t count) {
    if (to != results) std::copy_n(results + first, count, to + first);
    for (int64_t chunk = 1; chunk < chunks.count; ++chunk)
      for (int64_t k = first; k < first + count; ++k) to[k] += results[chunk * chunks.size + k];
  };
  in_pieces(floats, 1024, chunks.count * floats > 4 * kPieceFloats, max_threads, schedule, add);
}

// Writes a phase's weight gradient to its taps' rows of d_kernel.
template <typename Schedule>
bool run_weight_phase(const Isa& isa, const Phase& phase, const float* in, const float* d_out,
                      float* d_kernel, Choice choice, int64_t max_threads, Schedule schedule) {
  const Conv& conv = phase.conv;
  const int64_t tap_floats = conv.group_in() * conv.out_c, floats = conv.taps() * tap_floats;
  WeightJob job{conv, phase.scatter, plan_weight_phase(phase, isa.tile, choice),
                in,   d_out,         d_kernel};
  const bool direct = job.plan.chunks.count == 1 && phase.taps.are_all();
  const Lease results = Lease::weights(
      direct ? 0 : static_cast<size_t>(job.plan.chunks.count * floats) * sizeof(float));
  if (!direct) job.d_kernel = reinterpret_cast<float*>(results.data());
  if (!job.d_kernel) return false;
  const bool done = run_units(
      job.plan.units(), weight_threads(conv, job.plan, max_threads),
      job.plan.work_floats * sizeof(float), schedule,
      [&](Memory& memory, int64_t unit) { isa.run_weight_unit(job, memory.bytes, unit); });
  if (direct) return done;
  const Cut chunks{floats, job.plan.chunks.count};
  if (phase.taps.are_all()) {
    add_results(job.d_kernel, chunks, floats, d_kernel, max_threads, schedule);
    return done;
  }
  for_each_tap(phase.taps, [&](int64_t index, int64_t tap) {
    add_results(job.d_kernel + index * tap_floats, chunks, tap_floats, d_kernel + tap * tap_floats,
                max_threads, schedule);
  });
  return done;
}

// False when there is no memory.
template <typename Schedule>
bool run_weight_gradient(const Isa& isa, const Conv& conv, const float* in, const float* d_out,
                         float* d_kernel, Choice choice, int64_t max_threads, Schedule schedule) {
  const std::vector<Phase> parts = phases(conv, false);
  const bool whole = conv.pixels() > 0 && parts.front().taps.are_all();
  // No output meets the taps of some classes.
  if (!whole) fill_zeros(d_kernel, conv.reduction() * conv.out_c, max_threads, schedule);
  bool done = true;
  for (const Phase& phase : parts)
    if (phase.conv.taps() > 0 && phase.conv.pixels() > 0)
      done =
          done && run_weight_phase(isa, phase, in, d_out, d_kernel, choice, max_threads, schedule);
  return done;
}

}  // namespace resfuse
