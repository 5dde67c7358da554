// native_tests FAMILY: a family of tests on every instruction set that this machine runs.

#include <cstdio>
#include <string>

#include "tests.h"

namespace {

using Test = void (*)(const resfuse::Isa&, resfuse::test::Report&);

struct Family {
  const char* name;
  Test test;
};

constexpr Family kFamilies[] = {
    {"convolutions", resfuse::test::test_convolutions},
    {"gradients", resfuse::test::test_gradients},
    {"norms", resfuse::test::test_norms},
    {"operations", resfuse::test::test_operations},
    {"pooling", resfuse::test::test_pooling},
    {"threads", resfuse::test::test_threads},
};

bool passes(const Family& family) {
  bool passed = true;
  for (const resfuse::Isa* isa : resfuse::usable_isas()) {
    resfuse::test::Report report(std::string(family.name) + " on " + isa->name);
    family.test(*isa, report);
    passed = report.passed() && passed;
  }
  return passed;
}

}  // namespace

int main(int count, char** arguments) {
  for (const Family& family : kFamilies)
    if (count == 2 && arguments[1] == std::string(family.name)) return passes(family) ? 0 : 1;
  std::fprintf(stderr, "usage: native_tests FAMILY, one of those in main.cc\n");
  return 2;
}
