// Runs the gradients of a convolution on the ISA in use, on the threads that it is given.

#pragma once

#include "base/pieces.h"
#include "conv/run.h"
#include "grad/input_gradient.h"

namespace resfuse {

template <typename Schedule>
void fill_zeros(float* to, int64_t floats, int64_t max_threads, Schedule schedule) {
  in_pieces(floats, kPieceFloats, floats > 4 * kPieceFloats, max_threads, schedule,
            [&](int64_t first, int64_t count) { std::fill_n(to + first, count, 0.0f); });
}

// Runs one phase of the input gradient. False when there is no memory.
template <typename Schedule>
bool run_phase(const Isa& isa, const Phase& phase, bool dense, const float* d_out,
               const float* kernel, float* d_in, Choice choice, int64_t max_threads,
               Schedule schedule) {
  const Request request{dense ? choice : Choice::kDirect, false, false, max_threads};
  Job job{phase.conv,
          make_plan(phase.conv, isa.tile, machine_in_use(), request),
          {d_out, kernel, d_in}};
  job.operands.transposed = &phase.taps;
  if (!dense) job.operands.scatter = &phase.scatter;
  return run(isa, job, schedule);
}

template <typename Schedule>
bool run_input_gradient(const Isa& isa, const Conv& conv, const float* d_out, const float* kernel,
                        float* d_in, Choice choice, int64_t max_threads, Schedule schedule) {
  const int64_t floats = conv.batch * conv.h.in * conv.w.in * conv.in_c;
  if (!phases_cover_input(conv)) fill_zeros(d_in, floats, max_threads, schedule);
  const bool dense = conv.h.stride == 1 && conv.w.stride == 1;
  bool enough_memory = true;
  for (const Phase& phase : input_gradient_phases(conv))
    enough_memory = enough_memory && run_phase(isa, phase, dense, d_out, kernel, d_in, choice,
                                               max_threads, schedule);
  return enough_memory;
}

// Adds the chunks' results in their order, in `to`, which may be the first of them.
template <typename Schedule>
void add_results(const float* results, int64_t chunks, int64_t floats, float* to,
                 int64_t max_threads, Schedule schedule) {
  const auto add = [&](int64_t first, int64_t count) {
    std::copy_n(results + first, count, to + first);
    for (int64_t chunk = 1; chunk < chunks; ++chunk)
      for (int64_t k = first; k < first + count; ++k) to[k] += results[chunk * floats + k];
  };
  in_pieces(floats, 1024, chunks * floats > 4 * kPieceFloats, max_threads, schedule, add);
}

// False when there is no memory.
template <typename Schedule>
bool run_weight_gradient(const Isa& isa, const Conv& conv, const float* in, const float* d_out,
                         float* d_kernel, Choice choice, int64_t max_threads, Schedule schedule) {
  const int64_t floats = conv.reduction() * conv.out_c;
  if (conv.pixels() == 0) {
    fill_zeros(d_kernel, floats, max_threads, schedule);
    return true;
  }
  WeightJob job{conv, make_weight_plan(conv, isa.tile, choice), in, d_out, d_kernel};
  const int64_t chunks = job.plan.chunks.count;
  const Lease results =
      Lease::weights(chunks > 1 ? static_cast<size_t>(chunks * floats) * sizeof(float) : 0);
  if (chunks > 1) job.d_kernel = reinterpret_cast<float*>(results.data());
  if (chunks > 1 && !job.d_kernel) return false;
  const bool done = run_units(
      job.plan.units(), weight_threads(conv, job.plan, max_threads),
      job.plan.work_floats * sizeof(float), schedule,
      [&](Memory& memory, int64_t unit) { isa.run_weight_unit(job, memory.bytes, unit); });
  if (chunks > 1) add_results(job.d_kernel, chunks, floats, d_kernel, max_threads, schedule);
  return done;
}

}  // namespace resfuse
