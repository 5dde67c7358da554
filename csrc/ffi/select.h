// What a call runs on: the instruction set that reads its packed weights, and the algorithms that
// it may take.

#pragma once

#include "ffi/problem.h"
#include "isa/isa.h"

namespace resfuse {

// The ISA in use if it reads weights packed in this shape, or another of this machine that does.
Problem find_isa(const Conv& conv, const Shape& packed, const Isa*& isa);

// Winograd only where the caller allows it; where he does, what `use_algorithm` says.
Choice choice_in_use(bool winograd);
// "fastest", "direct" or "winograd"; false for another name.
bool use_algorithm(const std::string& name);

const char* name_of(Algorithm algorithm);

}  // namespace resfuse
