// AVX-512: vectors of 16 floats.

#include "isa/isa.h"

#if defined(__AVX512F__)

#define RESFUSE_LANES 16
#include "isa/isa_unit.h"

const resfuse::Isa* resfuse::isa_avx512() {
  static constexpr Isa kIsa = make_isa("avx512");
  const bool runs = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  return runs ? &kIsa : nullptr;
}

#else

const resfuse::Isa* resfuse::isa_avx512() { return nullptr; }

#endif
