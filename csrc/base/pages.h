// Pages of memory that somebody else took from the system, before it is first written.

#pragma once

#include <cstddef>

namespace resfuse {

// Has Linux find the pages of large memory now: huge ones as long as they come quickly. What is
// there already is left as it is.
void find_pages(void* begin, size_t bytes);

}  // namespace resfuse
