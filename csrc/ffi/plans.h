// Plans for Python: what packing asks, and what tests ask of machines that are not here.

#pragma once

#include <nanobind/nanobind.h>

namespace resfuse {

void bind_plans(nanobind::module_& m);

}  // namespace resfuse
