// What a call runs on: the instruction set that reads its packed weights, and the algorithms that
// it may take.

#pragma once

#include "ffi/validate.h"
#include "isa/isa.h"

namespace resfuse {

// The ISA in use if it reads weights packed in this shape, or another of this machine that does.
const Isa& find_isa(const Conv& conv, const Shape& packed, Check& check);

// Direct unless the caller allows `winograd`; then what `use_algorithm` said last.
Choice choice_in_use(bool winograd);
// Takes "fastest", "direct" or "winograd"; false for another name.
bool use_algorithm(const std::string& name);

const char* name_of(Algorithm algorithm);

}  // namespace resfuse
