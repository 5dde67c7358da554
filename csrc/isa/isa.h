// The instruction sets: what each one's file offers, and which of them is in use. This room stands
// above those of the algorithms (conv/, grad/, norm/, pool/), which it compiles once for each.
//
// Adding one is a file like isa_avx2.cc, a line in isas.inc, and one in CMakeLists.txt.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "conv/conv.h"
#include "conv/plan.h"
#include "grad/weight_plan.h"
#include "norm/layer_norm.h"
#include "norm/norm.h"
#include "pool/pool.h"

namespace resfuse {

struct Isa {
  const char* name;
  TileShape tile;
  size_t (*scratch_bytes)(const Plan&);
  void (*run_unit)(const Job&, Memory&, int64_t unit);
  void (*pool_part)(const Pool&, const float* in, float* out, const PoolPart&);
  // Computes channels [first, last) of one image.
  void (*max_pool_gradient)(const Pool&, const float* in, const float* d_out, float* d_in,
                            int64_t image, int64_t first, int64_t last);
  // Needs WeightPlan::work_floats of scratch.
  void (*run_weight_unit)(const WeightJob&, char* work, int64_t unit);
  // These take pixels [first, first + pixels); see norm.h and layer_norm.h.
  void (*normalize)(const Normalize&, int64_t first, int64_t pixels, float* out);
  void (*add_norm_sums)(const Norm&, int64_t first, int64_t pixels, double* sums);
  void (*add_deviations)(const Deviations&, int64_t first, int64_t pixels, double* sums);
  void (*norm_gradient)(const Norm&, const NormCoefficients&, int64_t first, int64_t pixels,
                        float* d_conv, float* d_residual);
  void (*layer_norm)(const LayerNorm&, int64_t first, int64_t pixels, float* out);
  // Performs `rounds` rounds of independent fused multiply-adds in registers; returns their count
  // of floating-point operations.
  double (*multiply_add)(int64_t rounds);
};

#define RESFUSE_ISA(name) const Isa* isa_##name();
#include "isa/isas.inc"
#undef RESFUSE_ISA

// Those that this machine can run, best first.
std::vector<const Isa*> usable_isas();

const Isa& isa_in_use();
// False when this machine has none of that name.
bool use_isa(const char* name);

// GFLOP/s of one thread's multiply-adds in the ISA in use: the best of short trials that fill
// about `seconds`.
double measure_peak(double seconds);

}  // namespace resfuse
