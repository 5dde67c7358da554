// Any machine: vectors of 4 floats, which are SSE2 on x86-64 and NEON on AArch64.

#define RESFUSE_LANES 4
#include "base/isa_unit.h"

namespace resfuse {
static constexpr Isa kIsa = make_isa("generic");
const Isa* const kGeneric = &kIsa;
}  // namespace resfuse
