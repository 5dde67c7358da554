// The instruction sets: what each one's file offers, and which of them is in use.
//
// Adding one is a file like isa_avx2.cc and a line in isa.cc.

#pragma once

#include <cstddef>
#include <cstdint>

#include "conv/conv.h"
#include "conv/plan.h"
#include "grad/weight_plan.h"
#include "norm/norm.h"
#include "pool/pool.h"

namespace resfuse {

// One thread's scratch, 64-byte aligned, and what is still in it from the unit before: the first of
// the packed or transformed panels, and the block whose inputs are prepared.
struct Memory {
  char* bytes;
  int64_t packed_panel = -1, transformed_panel = -1, prepared_block = -1;
};

struct Isa {
  const char* name;
  TileShape tile;
  size_t (*scratch_bytes)(const Plan&);
  void (*run_unit)(const Job&, Memory&, int64_t unit);
  // Rows [first, last) of the outputs, numbered over (batch, out_h).
  void (*max_pool)(const Pool&, const float* in, float* out, int64_t first, int64_t last);
  // Of one image, channels [first, last).
  void (*max_pool_gradient)(const Pool&, const float* in, const float* d_out, float* d_in,
                            int64_t image, int64_t first, int64_t last);
  // WeightPlan::work_floats of scratch.
  void (*run_weight_unit)(const WeightJob&, char* work, int64_t unit);
  // Of pixels [first, first + pixels); see norm.h.
  void (*normalize)(const Normalize&, int64_t first, int64_t pixels, float* out);
  void (*add_norm_sums)(const Norm&, int64_t first, int64_t pixels, double* sums);
  void (*norm_gradient)(const Norm&, const NormCoefficients&, int64_t first, int64_t pixels,
                        float* d_conv, float* d_residual);
  // Performs `rounds` rounds of independent fused multiply-adds in registers; returns their count
  // of floating-point operations.
  double (*multiply_add)(int64_t rounds);
};

// Null where the file was compiled for another architecture.
extern const Isa* const kAvx512;
extern const Isa* const kAvx2;
extern const Isa* const kGeneric;

// Those that this machine can run, best first; their number is returned.
constexpr int kMaxIsas = 3;
int usable_isas(const Isa* (&isas)[kMaxIsas]);

const Isa& isa_in_use();
// False when this machine has none of that name.
bool use_isa(const char* name);

// GFLOP/s of one thread's multiply-adds in the ISA in use: the best of short trials that fill
// about `seconds`.
double measure_peak(double seconds);

}  // namespace resfuse
