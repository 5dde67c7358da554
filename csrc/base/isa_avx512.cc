// AVX-512: vectors of 16 floats.

#include "base/isa.h"

#if defined(__AVX512F__)

#define RESFUSE_LANES 16
#include "base/isa_unit.h"

namespace resfuse {
static constexpr Isa kIsa = make_isa("avx512");
const Isa* const kAvx512 = &kIsa;
}  // namespace resfuse

#else

namespace resfuse {
const Isa* const kAvx512 = nullptr;
}  // namespace resfuse

#endif
