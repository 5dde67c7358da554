// Any machine: vectors of 4 floats, which are SSE2 on x86-64 and NEON on AArch64.

#define RESFUSE_LANES 4
#include "isa/isa_unit.h"

const resfuse::Isa* resfuse::isa_generic() {
  static constexpr Isa kIsa = make_isa("generic");
  return &kIsa;
}
