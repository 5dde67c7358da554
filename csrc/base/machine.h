// The caches of a machine, which plans are made for. They are an argument of every plan that
// depends on them, so the plans for any machine can be tested on any other.

#pragma once

#include <cstdint>

namespace resfuse {

// Bytes of data that a core reaches in each of its caches; L2 may serve several cores, L3 does.
struct Machine {
  int64_t l1d, l2, l3;
};

// The machine that our constants were measured on. What decides the order of a sum is cut for this
// one everywhere, so that the bits of a result do not depend on the caches; and it stands for
// machines that do not tell theirs.
constexpr Machine kReferenceMachine{int64_t{32} << 10, int64_t{1} << 20, int64_t{32} << 20};

// The machine that plans are made for: the one that this process runs on, read once from the
// system, unless `use_machine` says otherwise, which tests do.
const Machine& machine_in_use();
void use_machine(const Machine& machine);

// A share of L2 that was measured as `floats` where L2 has 1 MiB. L2 counts as 256 KiB at least and
// 2 MiB at most: larger ones serve several cores at a time.
int64_t share_of_l2(const Machine& machine, int64_t floats);

}  // namespace resfuse
