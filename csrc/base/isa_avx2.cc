// AVX2+FMA: vectors of 8 floats.

#include "base/isa.h"

#if defined(__AVX2__)

#define RESFUSE_LANES 8
#include "base/isa_unit.h"

namespace resfuse {
static constexpr Isa kIsa = make_isa("avx2");
const Isa* const kAvx2 = &kIsa;
}  // namespace resfuse

#else

namespace resfuse {
const Isa* const kAvx2 = nullptr;
}  // namespace resfuse

#endif
