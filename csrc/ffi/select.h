// What a call runs on: the instruction set that reads its packed weights, and the algorithms that
// it may take.

#pragma once

#include "ffi/validate.h"
#include "isa/isa.h"

namespace resfuse {

// What decides, beside a call itself, how it runs. All but the threads are the process's, which may
// change them between two executions.
struct Settings {
  const Isa* isa;
  Choice choice;
  const Machine* machine;
  int64_t threads;

  bool operator==(const Settings& other) const {
    return isa == other.isa && choice == other.choice && machine == other.machine &&
           threads == other.threads;
  }
};
Settings settings_in_use(int64_t threads);

// Where packed weights are: all of an array, or from a row on in one of two axes, whose rows are as
// long as a panel has channels; then scale and shift may follow them.
struct PackedPlace {
  Shape array;
  int64_t row = 0;
  bool has_numbers = false;
};

// How many such rows they take, and scale and shift each.
struct PackedRows {
  int64_t kernel, numbers;
};
PackedRows packed_rows(const Conv& conv, int nr);

// This ISA if it reads weights packed so, or another of this machine that does.
const Isa& find_isa(const Isa& preferred, const Conv& conv, const PackedPlace& packed,
                    Check& check);

// Weights to be packed: the convolution that they are of, and their order, which is that of this
// ISA or of another of this machine, as the shape says. Meaningless unless the check has passed.
struct PackCall {
  Conv conv;
  Layout layout;
};
PackCall bind_pack(const Isa& preferred, const Shape& kernel, const Geometry& geometry,
                   const Shape& packed, Check& check);

// Direct unless the caller allows `winograd`; then what `use_algorithm` said last.
Choice choice_in_use(bool winograd);
// Takes "fastest", "direct" or "winograd"; false for another name.
bool use_algorithm(const std::string& name);

const char* name_of(Algorithm algorithm);

}  // namespace resfuse
