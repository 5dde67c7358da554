// Programs that are compiled.

#pragma once

#include "conv/program.h"

namespace resfuse {

// The activation that a program is, if it is one.
Activation activation_of(const Program& program);

}  // namespace resfuse
