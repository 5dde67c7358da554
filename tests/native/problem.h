// Seeded problems, and what the kernel must make of them: the sums of conv.h and pool.h in double,
// one product after the other.

#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "conv/conv.h"
#include "conv/plan.h"

namespace resfuse::test {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// Knuth's linear congruential generator: the same numbers with every library.
class Random {
 public:
  // Whole numbers from -bound to bound: sums of their products are exact in float32, in any order.
  Floats integers(int64_t count, int64_t bound = 4);
  // Powers of two of both signs, by which whole numbers are multiplied exactly.
  Floats powers(int64_t count);

 private:
  int64_t below(int64_t end);

  uint64_t state_ = 1;
};

// A side whose `out` follows from the rest.
struct SideOptions {
  int64_t stride = 1, before = 0, after = 0, dilation = 1, image_dilation = 1;
};
Side make_side(int64_t in, int64_t kernel = 1, SideOptions options = {});

// A convolution, and the algorithm that it is for: Winograd's, or the direct one.
struct Case {
  const char* name;
  Conv conv;
  Choice choice;

  // Of the largest number. Direct sums of whole numbers are exact; Winograd's may be off by what
  // tests/oracle.py says.
  double tolerance() const { return choice == Choice::kWinograd ? 2e-5 : 0.0; }
};

// Every geometry and every way through the kernel, each as small as shows it.
std::vector<Case> cases();

// The element of a side of the image that output `y` meets at tap `i`, or -1 outside of it.
inline int64_t met(const Side& side, int64_t y, int64_t i) {
  const int64_t at = y * side.stride - side.pad + i * side.window_dilation;
  const bool inside =
      at >= 0 && at % side.image_dilation == 0 && at / side.image_dilation < side.in;
  return inside ? at / side.image_dilation : -1;
}

// Calls `function(in, tap, out)` with the pixels of image and output that meet, for each output
// and the taps of its window in their order. `Problem` is a Conv or a Pool.
template <typename Problem, typename Function>
void for_each_meeting(const Problem& problem, const Function& function) {
  const Side &d = problem.d, &h = problem.h, &w = problem.w;
  for (int64_t out = 0; out < problem.batch * d.out * h.out * w.out; ++out)
    for (int64_t tap = 0; tap < d.kernel * h.kernel * w.kernel; ++tap) {
      const int64_t z = met(d, out / (h.out * w.out) % d.out, tap / (h.kernel * w.kernel));
      const int64_t y = met(h, out / w.out % h.out, tap / w.kernel % h.kernel);
      const int64_t x = met(w, out % w.out, tap % w.kernel);
      const int64_t image = out / (d.out * h.out * w.out) * d.in;
      if (z >= 0 && y >= 0 && x >= 0) function(((image + z) * h.in + y) * w.in + x, tap, out);
    }
}

// Calls `function(in, kernel, out)` with the places of each product of a convolution.
template <typename Function>
void for_each_product(const Conv& conv, const Function& function) {
  for_each_meeting(conv, [&](int64_t in, int64_t tap, int64_t out) {
    for (int64_t o = 0; o < conv.out_c; ++o)
      for (int64_t c = 0; c < conv.group_in(); ++c)
        function(in * conv.in_c + o / conv.group_out() * conv.group_in() + c,
                 (tap * conv.group_in() + c) * conv.out_c + o, out * conv.out_c + o);
  });
}

// Sums of products at `to`, over places that `for_each_product` gives.
inline void add_product(Doubles& to, int64_t at, float a, float b) {
  to[static_cast<size_t>(at)] += static_cast<double>(a) * b;
}

// The tests of an instruction set: says what fails, and counts.
class Report {
 public:
  explicit Report(std::string where) : where_(std::move(where)) {}

  void that(bool holds, const std::string& what);
  // Each number within `tolerance` of the largest expected.
  void close(const Floats& got, const Doubles& expected, double tolerance, const std::string& what);
  // Says how many checks there were; false where one failed.
  bool passed() const;

 private:
  std::string where_;
  int checks_ = 0, failures_ = 0;
};

// Threads that take the kernel's work, until the end of its scope.
class Threads {
 public:
  ~Threads() {
    for (std::thread& thread : threads_) thread.join();
  }
  Schedule schedule() {
    return [this](std::function<void()> task) { threads_.emplace_back(std::move(task)); };
  }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace resfuse::test
