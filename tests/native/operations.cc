// The operations of a program that take one number, on numbers of all exponents.

#include <cmath>
#include <cstring>

#include "base/machine.h"
#include "conv/program.h"
#include "conv/run.h"
#include "tests.h"

namespace resfuse::test {
namespace {

using Function = double (*)(double);

struct Operation {
  const char* name;
  Function exact;
  double units = 4.0;  // in the last place, by which it may be off
};

double logistic(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

constexpr Operation kExact[] = {
    {"exp", [](double x) { return std::exp(x); }},
    {"exp2", [](double x) { return std::exp2(x); }},
    {"expm1", [](double x) { return std::expm1(x); }},
    {"log", [](double x) { return std::log(x); }},
    {"log1p", [](double x) { return std::log1p(x); }},
    {"logistic", logistic},
    {"tanh", [](double x) { return std::tanh(x); }},
    {"erf", [](double x) { return std::erf(x); }},
    {"erfc", [](double x) { return std::erfc(x); }, 6.0},  // just below 1
    {"sqrt", [](double x) { return std::sqrt(x); }},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }},
    {"neg", [](double x) { return -x; }},
    {"abs", [](double x) { return std::abs(x); }},
    {"sign", sign},
    {"floor", [](double x) { return std::floor(x); }},
    {"ceil", [](double x) { return std::ceil(x); }},
    {"round_even", [](double x) { return std::nearbyint(x); }},
    {"round_away", [](double x) { return std::round(x); }},
};

// Normal numbers of both signs, from all parts of each binade.
Floats all_exponents() {
  constexpr uint32_t kNumbers = 32;
  Floats numbers;
  for (uint32_t sign : {0u, 1u})
    for (uint32_t exponent = 1; exponent < 255; ++exponent)
      for (uint32_t number = 0; number < kNumbers; ++number) {
        const uint32_t rest = number * ((1u << 23) / kNumbers) + exponent * 977 % 1000;
        const uint32_t bits = sign << 31 | exponent << 23 | rest;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        numbers.push_back(value);
      }
  return numbers;
}

// Runs the operation on an operand of a convolution, of which nothing else is used.
Floats apply(const Isa& isa, int operation, const Floats& numbers) {
  constexpr int64_t kChannels = 16;
  const auto pixels = static_cast<int64_t>(numbers.size()) / kChannels;
  const Conv conv{1, 1, kChannels, 1, {}, {}, make_side(pixels)};
  const Floats in(static_cast<size_t>(pixels)), kernel(kChannels), zeros(kChannels);
  Floats out(numbers.size());
  Program program{};
  program.operands = program.instructions = program.outputs = 1;
  program.operand[0] = Per::kOutput;
  program.code[0] = {operation, {{false, 1}}, 0, {}, 2};
  program.output[0] = {false, 2};
  const Epilogue epilogue{zeros.data(), zeros.data(), nullptr,
                          kNoBounds,    &program,     {numbers.data()}};
  const Jobs jobs =
      make_jobs(conv, false, isa.tile, machine_in_use(), {Choice::kDirect, false, false, 1});
  Threads workers;
  if (!run(isa, jobs, {in.data(), kernel.data(), out.data(), &epilogue}, workers.schedule()))
    out.clear();
  return out;
}

// In units in the last place. Results of which a part is not normal may miss that part, as
// tests/kernel/test_math.py says; infinities and NaN must be the same.
double error_of(float got, double exact) {
  constexpr double kTiny = 1.1754943508222875e-38, kSmall = 16 * kTiny, kWrong = 1e30;
  const auto rounded = static_cast<float>(exact);
  if (!std::isfinite(rounded))
    return got == rounded || (std::isnan(got) && std::isnan(rounded)) ? 0.0 : kWrong;
  if (std::abs(exact) < kSmall) return std::abs(got - exact) <= kTiny ? 0.0 : kWrong;
  const double unit = std::ldexp(1.0, std::ilogb(rounded) - 23);
  const double units = std::abs(got - exact) / unit;
  return std::isnan(units) ? kWrong : units;
}

void check(const Isa& isa, const Operation& of, int operation, Report& report) {
  const Floats numbers = all_exponents(), got = apply(isa, operation, numbers);
  double worst = got.size() == numbers.size() ? 0.0 : 1e30;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, error_of(got[i], of.exact(static_cast<double>(numbers[i]))));
  report.that(worst <= of.units,
              of.name + std::string(" is off by ") + std::to_string(worst) + " units");
}

}  // namespace

void test_operations(const Isa& isa, Report& report) {
  for (const Operation& of : kExact)
    for (int operation = 0; operation < kOperationCount; ++operation)
      if (std::strcmp(kOperations[operation].name, of.name) == 0) check(isa, of, operation, report);
}

}  // namespace resfuse::test
