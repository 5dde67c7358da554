// Convolutions with an epilogue, on weights as they are and packed ones, and their statistics.

#include <algorithm>
#include <limits>

#include "base/machine.h"
#include "conv/run.h"
#include "norm/statistics.h"
#include "tests.h"

namespace resfuse::test {
namespace {

struct Arrays {
  Floats in, kernel, scale, shift, residual;

  explicit Arrays(const Conv& conv) {
    Random random;
    in = random.integers(conv.in_floats());
    kernel = random.integers(conv.reduction() * conv.out_c);
    scale = random.powers(conv.out_c);
    shift = random.integers(conv.out_c);
    residual = random.integers(conv.pixels() * conv.out_c);
  }
};

Doubles convolve(const Conv& conv, const Arrays& arrays) {
  Doubles acc(arrays.residual.size());
  for_each_product(conv, [&](int64_t in, int64_t kernel, int64_t out) {
    add_product(acc, out, arrays.in[static_cast<size_t>(in)],
                arrays.kernel[static_cast<size_t>(kernel)]);
  });
  return acc;
}

Doubles finish(const Conv& conv, const Arrays& arrays, Doubles acc) {
  for (size_t i = 0; i < acc.size(); ++i) {
    const size_t o = i % static_cast<size_t>(conv.out_c);
    acc[i] = std::max(0.0, arrays.scale[o] * acc[i] + arrays.shift[o] + arrays.residual[i]);
  }
  return acc;
}

Floats run_once(const Isa& isa, const Case& of, const Arrays& arrays, const Floats& packed,
                int64_t threads) {
  Floats out(arrays.residual.size());
  const Epilogue epilogue{arrays.scale.data(),
                          arrays.shift.data(),
                          arrays.residual.data(),
                          {0.0f, kUnbounded},
                          nullptr};
  const Floats& kernel = packed.empty() ? arrays.kernel : packed;
  const Jobs jobs = make_jobs(of.conv, false, isa.tile, machine_in_use(),
                              {of.choice, !packed.empty(), false, threads});
  const Operands operands{arrays.in.data(), kernel.data(), out.data(), &epilogue};
  Threads workers;
  if (!run(isa, jobs, operands, workers.schedule())) out.clear();
  return out;
}

Floats pack(const Isa& isa, const Conv& conv, const Floats& kernel) {
  const Layout layout = make_layout(conv, isa.tile.nr);
  Floats packed(layout.bytes() / sizeof(float));
  Threads workers;
  pack_all(conv, layout, false, kernel.data(), packed.data(), 1, workers.schedule());
  return packed;
}

// The variance may be off by what tests/oracle.py derives for register tiles of 12 pixels.
void check_statistics(const Isa& isa, const Case& of, const Arrays& arrays, const Doubles& acc,
                      Report& report) {
  const Conv& conv = of.conv;
  const auto channels = static_cast<size_t>(conv.out_c);
  Floats out(acc.size()), mean(channels), var(channels);
  const Jobs jobs = make_jobs(conv, false, isa.tile, machine_in_use(), {of.choice, false, true, 2});
  Doubles moments(static_cast<size_t>(jobs.blocks() * 3) * channels);
  const Operands operands{arrays.in.data(), arrays.kernel.data(), out.data(), nullptr,
                          moments.data()};
  Threads workers;
  report.that(run(isa, jobs, operands, workers.schedule()), "there is memory");
  combine_statistics(moments.data(), jobs.blocks(), conv.out_c, conv.out_c, mean.data(),
                     var.data());
  report.close(out, acc, of.tolerance(), of.name + std::string(" in training"));

  // Of the outputs as they are, for those of Winograd's algorithm have its errors.
  Doubles sum(channels), squares(channels);
  const auto count = static_cast<double>(conv.pixels());
  for (size_t i = 0; i < out.size(); ++i) sum[i % channels] += out[i] / count;
  for (size_t i = 0; i < out.size(); ++i) {
    const double deviation = out[i] - sum[i % channels];
    squares[i % channels] += deviation * deviation / count;
  }
  constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
  report.close(mean, sum, 30 * kEpsilon, of.name + std::string(", the mean"));
  report.close(var, squares, 145 * kEpsilon, of.name + std::string(", the variance"));
}

void check(const Isa& isa, const Case& of, Report& report) {
  const Arrays arrays(of.conv);
  const Doubles acc = convolve(of.conv, arrays);
  const Floats first = run_once(isa, of, arrays, {}, 1);
  report.close(first, finish(of.conv, arrays, acc), of.tolerance(), of.name);
  report.that(run_once(isa, of, arrays, {}, 3) == first, of.name + std::string(" on 3 threads"));
  const Floats packed = pack(isa, of.conv, arrays.kernel);
  report.that(run_once(isa, of, arrays, packed, 2) == first, of.name + std::string(", packed"));
  if (of.conv.pixels() > 0) check_statistics(isa, of, arrays, acc, report);
}

}  // namespace

void test_convolutions(const Isa& isa, Report& report) {
  for (const Case& of : cases()) {
    check(isa, of, report);
    const Jobs jobs =
        make_jobs(of.conv, false, isa.tile, machine_in_use(), {of.choice, false, false, 1});
    const bool winograd = std::any_of(
        jobs.phases.begin(), jobs.phases.end(),
        [](const PlannedPhase& phase) { return phase.plan.algorithm == Algorithm::kWinograd; });
    report.that(winograd == (of.choice == Choice::kWinograd), of.name + std::string(": algorithm"));
  }
}

}  // namespace resfuse::test
