// AVX2 and FMA: vectors of 8 floats.

#include "isa/isa.h"

#if defined(__AVX2__)

#define RESFUSE_LANES 8
#include "isa/isa_unit.h"

const resfuse::Isa* resfuse::isa_avx2() {
  static constexpr Isa kIsa = make_isa("avx2");
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kIsa : nullptr;
}

#else

const resfuse::Isa* resfuse::isa_avx2() { return nullptr; }

#endif
