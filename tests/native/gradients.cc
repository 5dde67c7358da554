// Both gradients of a convolution.

#include "grad/run_gradients.h"
#include "tests.h"

namespace resfuse::test {
namespace {

Floats input_gradient(const Isa& isa, const Case& of, const Floats& d_out, const Floats& kernel,
                      int64_t threads) {
  Floats d_in(static_cast<size_t>(of.conv.in_floats()));
  Threads workers;
  const bool done = run_input_gradient(isa, of.conv, d_out.data(), kernel.data(), d_in.data(),
                                       of.choice, threads, workers.schedule());
  return done ? d_in : Floats();
}

Floats weight_gradient(const Isa& isa, const Case& of, const Floats& in, const Floats& d_out,
                       int64_t threads) {
  Floats d_kernel(static_cast<size_t>(of.conv.reduction() * of.conv.out_c));
  Threads workers;
  const bool done = run_weight_gradient(isa, of.conv, in.data(), d_out.data(), d_kernel.data(),
                                        of.choice, threads, workers.schedule());
  return done ? d_kernel : Floats();
}

void check(const Isa& isa, const Case& of, Report& report) {
  const Conv& conv = of.conv;
  Random random;
  const Floats in = random.integers(conv.in_floats());
  const Floats kernel = random.integers(conv.reduction() * conv.out_c);
  const Floats d_out = random.integers(conv.pixels() * conv.out_c);
  Doubles d_in(in.size()), d_kernel(kernel.size());
  for_each_product(conv, [&](int64_t image, int64_t weight, int64_t out) {
    const float d = d_out[static_cast<size_t>(out)];
    add_product(d_in, image, d, kernel[static_cast<size_t>(weight)]);
    add_product(d_kernel, weight, d, in[static_cast<size_t>(image)]);
  });
  const std::string name = of.name;
  const Floats by_input = input_gradient(isa, of, d_out, kernel, 1);
  report.close(by_input, d_in, of.tolerance(), name + ", by its input");
  report.that(input_gradient(isa, of, d_out, kernel, 3) == by_input,
              name + ", by its input on 3 threads");
  const Floats by_weights = weight_gradient(isa, of, in, d_out, 1);
  report.close(by_weights, d_kernel, of.tolerance(), name + ", by its weights");
  report.that(weight_gradient(isa, of, in, d_out, 3) == by_weights,
              name + ", by its weights on 3 threads");
}

}  // namespace

void test_gradients(const Isa& isa, Report& report) {
  for (const Case& of : cases()) check(isa, of, report);
}

}  // namespace resfuse::test
