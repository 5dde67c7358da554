// The packing of weights for Python, which XLA need not compile a program for.

#pragma once

#include <nanobind/nanobind.h>

namespace resfuse {

void bind_packing(nanobind::module_& m);

}  // namespace resfuse
