// Pooling and its gradients, on whole numbers: exact.

#include <limits>

#include "pool/run_pool.h"
#include "tests.h"

namespace resfuse::test {
namespace {

struct PoolCase {
  const char* name;
  Side d, h, w;
};

std::vector<PoolCase> pool_cases() {
  const Side three = make_side(9, 3, {2, 1, 1});
  return {
      {"3x3, stride 2", {}, three, three},
      {"2x2, stride 2", {}, make_side(6, 2, {2}), make_side(7, 2, {2})},
      {"3x3, dilated", {}, make_side(8, 3, {1, 2, 2, 2}), make_side(7, 3, {1, 3, 3, 3})},
      {"2x3x3", make_side(3, 2), make_side(5, 3, {1, 1, 1}), three},
      {"all of an image", {}, make_side(11, 11), make_side(9, 9)},
  };
}

// What pooling `in` gives, and what `d_out` gives back to it.
struct Expected {
  Doubles out, d_in;
};

Expected maxima(const Pool& pool, const Floats& in, const Floats& d_out) {
  Expected expected{Doubles(d_out.size(), -std::numeric_limits<double>::infinity()),
                    Doubles(in.size())};
  std::vector<size_t> places(d_out.size());
  const auto channels = static_cast<size_t>(pool.channels);
  for_each_meeting(pool, [&](int64_t pixel, int64_t, int64_t output) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t from = static_cast<size_t>(pixel) * channels + c;
      const size_t to = static_cast<size_t>(output) * channels + c;
      if (in[from] > expected.out[to]) expected.out[to] = in[from], places[to] = from;
    }
  });
  for (size_t i = 0; i < d_out.size(); ++i) expected.d_in[places[i]] += d_out[i];
  return expected;
}

Expected sums(const Pool& pool, const Floats& in, const Floats& d_out) {
  Expected expected{Doubles(d_out.size()), Doubles(in.size())};
  for_each_meeting(pool, [&](int64_t pixel, int64_t, int64_t output) {
    for (int64_t c = 0; c < pool.channels; ++c) {
      const auto from = static_cast<size_t>(pixel * pool.channels + c);
      const auto to = static_cast<size_t>(output * pool.channels + c);
      expected.out[to] += in[from];
      expected.d_in[from] += d_out[to];
    }
  });
  return expected;
}

void check(const Isa& isa, const PoolCase& of, int64_t channels, Reduction reduction,
           Report& report) {
  const Pool pool{reduction, 2, channels, of.d, of.h, of.w};
  Random random;
  const Floats in = random.integers(pool.batch * pool.pixels() * channels);
  const Floats d_out = random.integers(pool.batch * pool.out_pixels() * channels);
  Floats out(d_out.size()), d_in(in.size());
  const bool largest = reduction == Reduction::kMax;
  const Expected expected = largest ? maxima(pool, in, d_out) : sums(pool, in, d_out);
  const std::string name = (largest ? "the largest of " : "the sum of ") + std::string(of.name);
  Threads workers;
  report.that(run_pool(isa, plan_pool(pool), in.data(), out.data(), 2, workers.schedule()),
              "there is memory");
  report.close(out, expected.out, 0.0, name);
  if (largest)
    run_max_pool_gradient(isa, pool, in.data(), d_out.data(), d_in.data(), 2, workers.schedule());
  else
    run_windows(isa, cut_windows(mirrored(pool)), d_out.data(), d_in.data(), 2, workers.schedule());
  report.close(d_in, expected.d_in, 0.0, name + ", its gradient");
}

}  // namespace

void test_pooling(const Isa& isa, Report& report) {
  for (const PoolCase& of : pool_cases())
    for (const int64_t channels : {1, 5, 16, 67})
      for (const Reduction reduction : {Reduction::kMax, Reduction::kSum})
        check(isa, of, channels, reduction, report);
}

}  // namespace resfuse::test
