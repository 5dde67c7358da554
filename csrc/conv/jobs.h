// A convolution as its phases (phases.h), whose units are one queue. All of it follows from the
// problem, so it is made once and serves any number of calls, each with jobs of its own.

#pragma once

#include <vector>

#include "conv/phases.h"
#include "conv/plan.h"

namespace resfuse {

struct Jobs {
  Conv conv;      // as a whole
  bool mirrored;  // its kernel is an input gradient's
  Layout layout;  // of all its weights
  std::vector<PlannedPhase> phases;
  std::vector<int64_t> ends;  // of each phase's units in the queue
  int64_t threads;            // as many as are worth waking

  int64_t units() const { return ends.empty() ? 0 : ends.back(); }
  // Blocks of pixels, each of which has a row of sums.
  int64_t blocks() const;
  // Whether the call packs all weights before anything else.
  bool packs() const;
  // Whether each unit writes whole rows of outputs.
  bool have_whole_rows() const;
  // The jobs of a call that reads and writes what `operands` say, where the kernel is as in pack.h
  // if the request said so; `packed` are the weights if the call packs them.
  std::vector<Job> with(const Operands& operands, const float* packed) const;
};

PlannedPhase plan_phase(const Phase& phase, TileShape tile, const Machine& machine,
                        const Request& request);
Jobs make_jobs(const Conv& conv, bool mirrored, TileShape tile, const Machine& machine,
               const Request& request);

}  // namespace resfuse
