// The parallel-for, with several callers at once, whose helpers linger for each other's calls.

#include <array>
#include <thread>

#include "base/parallel.h"
#include "tests.h"

namespace resfuse::test {
namespace {

// Calls whose units are plain numbers: whether, after each, every unit was worked on once.
bool works_once_on_each(int calls) {
  std::array<int, 37> worked{};
  Threads workers;
  bool fine = true;
  for (int call = 1; call <= calls; ++call) {
    const auto work = [&](int64_t unit) { ++worked[static_cast<size_t>(unit)]; };
    parallel_for(worked.size(), 4, workers.schedule(), [&] { return work; });
    for (const int times : worked) fine = fine && times == call;
  }
  return fine;
}

}  // namespace

void test_threads(const Isa&, Report& report) {
  constexpr int kCalls = 300;
  bool elsewhere = false;
  std::thread other([&] { elsewhere = works_once_on_each(kCalls); });
  report.that(works_once_on_each(kCalls), "each unit is worked on once");
  other.join();
  report.that(elsewhere, "so it is for another caller at the same time");
}

}  // namespace resfuse::test
