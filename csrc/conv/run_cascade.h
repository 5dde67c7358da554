// Runs a planned cascade on the ISA in use, on the threads that it is given.

#pragma once

#include <cstring>
#include <vector>

#include "conv/cascade.h"
#include "conv/program.h"
#include "conv/run.h"

namespace resfuse {

struct Cascade {
  const std::vector<Conv>& parts;
  const PoolPlan* squeeze;  // or null: the first part reads sums over all pixels of `in`
  const CascadePlan& plan;
  const std::vector<Jobs>& apart;  // of each part, where the plan does not pay
  // Of each part: only the first has `in`, only the last `out` and, if at all, `row_sums`.
  std::vector<Operands> operands;
  int64_t max_threads;
};

// The epilogue of the outputs from `first` on, in floats, which are those of images from `image`
// on.
inline Epilogue shifted(Epilogue epilogue, int64_t image, int64_t first, int64_t out_c) {
  if (epilogue.residual) epilogue.residual += first;
  const Program* const program = epilogue.program;
  for (int i = 0; program && i < program->operands; ++i) {
    if (program->operand[i] == Per::kImage) epilogue.operand[i] += image * out_c;
    if (program->operand[i] == Per::kOutput) epilogue.operand[i] += first;
  }
  for (int i = 1; program && i < program->outputs; ++i) epilogue.output[i] += first;
  return epilogue;
}

// One thread's memory for a cascade: the algorithms' scratch, then the buffers between the parts.
class CascadeMemory {
 public:
  CascadeMemory(const Isa& isa, const CascadePlan& plan) {
    for (const Band& band : plan.bands)
      scratch_ = std::max(scratch_, isa.scratch_bytes(band.phase.plan));
    size_t end = scratch_;
    for (const int64_t floats : plan.buffer_floats) {
      begins_.push_back(end);
      end += static_cast<size_t>(round_up(floats, 16)) * sizeof(float);
    }
    begins_.push_back(end);
  }

  size_t bytes() const { return begins_.back(); }
  float* buffer(char* bytes, size_t part) const {
    return reinterpret_cast<float*>(bytes + begins_[part]);
  }

 private:
  size_t scratch_ = 0;  // a multiple of 64
  std::vector<size_t> begins_;
};

// The steps of a unit, one after the other.
class CascadeUnit {
 public:
  CascadeUnit(const Isa& isa, const Cascade& cascade, const CascadeMemory& layout, char* bytes,
              int64_t group)
      : isa_(isa),
        cascade_(cascade),
        layout_(layout),
        bytes_(bytes),
        first_image_(group * cascade.plan.images),
        held_(cascade.parts.size(), 0) {}

  void run(const Step& step) {
    const Conv& whole = cascade_.parts[step.part];
    const int64_t row = whole.w.out * whole.out_c;
    const Operands& operands = cascade_.operands[step.part];
    const Epilogue epilogue =
        shifted(*operands.epilogue, first_image_,
                (first_image_ * whole.h.out + step.made.first) * row, whole.out_c);
    Job job(cascade_.plan.bands[step.band].phase, operands);
    job.operands.in = input_of(step);
    job.operands.out = output_of(step);
    job.operands.epilogue = &epilogue;
    Memory memory{bytes_};
    for (int64_t unit = 0; unit < job.plan.units(); ++unit) isa_.run_unit(job, memory, unit);
    if (job.operands.row_sums) sum_rows(step);
  }

 private:
  // Adds up the rows of the last part's step.
  void sum_rows(const Step& step) {
    const Conv& conv = cascade_.parts.back();
    const Operands& operands = cascade_.operands.back();
    const int64_t first = first_image_ * conv.h.out + step.made.first;
    const int64_t last = first + (cascade_.plan.images - 1) * conv.h.out + step.made.count();
    isa_.pool_part(pool_of_rows(conv), operands.out, operands.row_sums,
                   {first, last, 0, conv.out_c});
  }

  bool is_last(size_t part) const { return part + 1 == cascade_.parts.size(); }

  const float* input_of(const Step& step) const {
    const Conv& conv = cascade_.parts[step.part];
    const int64_t row = conv.w.in * conv.in_c;
    if (step.part == 0)
      return cascade_.operands[0].in + (first_image_ * conv.h.in + step.read.first) * row;
    const size_t before = step.part - 1;
    return layout_.buffer(bytes_, before) + (step.read.first - held_[before]) * row;
  }

  // Where the step's outputs go; in a buffer, behind the rows that it keeps.
  float* output_of(const Step& step) {
    const Conv& conv = cascade_.parts[step.part];
    const int64_t row = conv.w.out * conv.out_c;
    if (is_last(step.part))
      return cascade_.operands.back().out + (first_image_ * conv.h.out + step.made.first) * row;
    float* const buffer = layout_.buffer(bytes_, step.part);
    const int64_t kept = (step.made.first - step.held.first) * row;
    const int64_t from = (step.held.first - held_[step.part]) * row;
    if (kept > 0 && from > 0)
      std::memmove(buffer, buffer + from, static_cast<size_t>(kept) * sizeof(float));
    held_[step.part] = step.held.first;
    return buffer + kept;
  }

  const Isa& isa_;
  const Cascade& cascade_;
  const CascadeMemory& layout_;
  char* const bytes_;
  const int64_t first_image_;
  std::vector<int64_t> held_;  // the first row in each buffer
};

inline bool run_together(const Isa& isa, const Cascade& cascade, const Schedule& schedule) {
  const CascadePlan& plan = cascade.plan;
  const CascadeMemory layout(isa, plan);
  const auto units = static_cast<int64_t>(plan.units.size());
  return run_units(plan.all_units(), plan.threads, layout.bytes(), schedule,
                   [&](Memory& memory, int64_t unit) {
                     CascadeUnit on_unit(isa, cascade, layout, memory.bytes, unit / units);
                     for (const Step& step : plan.units[static_cast<size_t>(unit % units)])
                       on_unit.run(step);
                   });
}

// What lies between stages, each at a multiple of 64 bytes.
class Between {
 public:
  explicit Between(const Cascade& cascade) {
    ends_.reserve(cascade.parts.size() + 2);
    if (cascade.squeeze) add(cascade.squeeze->between_floats), add(cascade.parts[0].in_floats());
    for (size_t part = 0; part + 1 < cascade.parts.size(); ++part)
      add(cascade.parts[part].pixels() * cascade.parts[part].out_c);
  }

  size_t bytes() const { return ends_.back() * sizeof(float); }
  // Those of what was added after `index` others.
  float* at(char* bytes, size_t index) const {
    return reinterpret_cast<float*>(bytes) + ends_[index];
  }

 private:
  void add(int64_t floats) {
    ends_.push_back(ends_.back() + static_cast<size_t>(round_up(floats, 16)));
  }

  std::vector<size_t> ends_{0};
};

// The sums of an image's pixels.
inline void add_squeeze(const Isa& isa, const PoolPlan& squeeze, const float* in, float* between,
                        float* out, std::vector<Stage>& stages) {
  const bool in_two = squeeze.between_floats > 0;
  stages.push_back(stage_of(isa, squeeze.first, in, in_two ? between : out));
  if (in_two) stages.push_back(stage_of(isa, squeeze.second, between, out));
}

// One part after the other, each on all threads.
inline bool run_apart(const Isa& isa, const Cascade& cascade, const Schedule& schedule) {
  const Between between(cascade);
  const Lease lease = Lease::shared(between.bytes());
  char* const bytes = lease.data();
  if (!bytes && between.bytes() > 0) return false;
  std::vector<Stage> stages;
  stages.reserve(cascade.parts.size() + 3);
  int64_t threads = 1;
  size_t scratch = 0, index = 0;
  const float* in = cascade.operands.front().in;
  if (cascade.squeeze) {
    add_squeeze(isa, *cascade.squeeze, in, between.at(bytes, 0), between.at(bytes, 1), stages);
    in = between.at(bytes, 1), index = 2;
    threads = std::min(cascade.max_threads, cascade.squeeze->first.units);
  }
  for (size_t part = 0; part < cascade.parts.size(); ++part) {
    Operands operands = cascade.operands[part];
    operands.in = in;
    if (part + 1 < cascade.parts.size()) operands.out = between.at(bytes, index++);
    in = operands.out;
    add_stages(isa, cascade.apart[part], operands, nullptr, stages);
    threads = std::max(threads, cascade.apart[part].threads);
    scratch = std::max(scratch, scratch_bytes(isa, cascade.apart[part]));
  }
  return run_stages(stages, threads, scratch, schedule);
}

// False when there is no memory.
inline bool run(const Isa& isa, const Cascade& cascade, const Schedule& schedule) {
  return cascade.plan.pays ? run_together(isa, cascade, schedule)
                           : run_apart(isa, cascade, schedule);
}

}  // namespace resfuse
