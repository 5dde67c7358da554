// The families of tests, each on one instruction set.

#pragma once

#include "isa/isa.h"
#include "problem.h"

namespace resfuse::test {

void test_convolutions(const Isa& isa, Report& report);
void test_gradients(const Isa& isa, Report& report);
void test_norms(const Isa& isa, Report& report);
void test_operations(const Isa& isa, Report& report);
void test_pooling(const Isa& isa, Report& report);
void test_threads(const Isa& isa, Report& report);

}  // namespace resfuse::test
