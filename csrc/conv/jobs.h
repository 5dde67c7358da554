// A convolution as jobs, one for each of its phases (phases.h), whose units are one queue.

#pragma once

#include <vector>

#include "conv/plan.h"

namespace resfuse {

struct Jobs {
  Conv conv;      // as a whole
  bool mirrored;  // its kernel is an input gradient's
  Layout layout;  // of all its weights
  std::vector<Job> jobs;
  std::vector<int64_t> ends;  // of each job's units in the queue
  int64_t threads;            // as many as are worth waking

  int64_t units() const { return ends.empty() ? 0 : ends.back(); }
  // Blocks of pixels, each of which has a row of sums.
  int64_t blocks() const;
  void write_sums_to(double* sums);
};

// Reads and writes what `operands` say; the kernel is as in pack.h if `request` says so.
Jobs make_jobs(const Conv& conv, bool mirrored, const Operands& operands, TileShape tile,
               const Machine& machine, const Request& request);

}  // namespace resfuse
