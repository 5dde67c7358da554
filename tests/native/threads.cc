// The parallel-for, with several callers at once, whose helpers linger for each other's calls; and
// with helpers that come too late, or never.

#include <functional>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "tests.h"

namespace resfuse::test {
namespace {

struct Size {
  int64_t units, threads;
};
constexpr Size kSizes[] = {{1, 1}, {1, 8}, {2, 8}, {3, 2}, {37, 4}, {37, 64}, {1000, 3}};

// The units in the order in which they are worked on, where all are worked on by the caller.
std::vector<int64_t> order_alone(Size size, const Schedule& schedule) {
  std::vector<int64_t> order;
  const auto work = [&](int64_t unit) { order.push_back(unit); };
  parallel_for(size.units, size.threads, schedule, work);
  return order;
}

// Calls whose units are plain numbers: whether, after each, every unit was worked on once.
bool works_once_on_each(int calls) {
  Threads workers;
  bool fine = true;
  for (int call = 0; call < calls; ++call)
    for (const Size& size : kSizes) {
      std::vector<int> worked(static_cast<size_t>(size.units));
      const auto work = [&](int64_t unit) { ++worked[static_cast<size_t>(unit)]; };
      parallel_for(size.units, size.threads, workers.schedule(), work);
      for (const int times : worked) fine = fine && times == 1;
    }
  return fine;
}

// Its own share in its order, then what is left of the fullest others, from their ends.
bool works_alone_in_order() {
  const auto never = [](const auto&) {};
  return order_alone({5, 1}, never) == std::vector<int64_t>{0, 1, 2, 3, 4} &&
         order_alone({8, 2}, never) == std::vector<int64_t>{0, 1, 2, 3, 7, 6, 5, 4} &&
         order_alone({7, 3}, never) == std::vector<int64_t>{0, 1, 6, 3, 5, 2, 4};
}

// Helpers that come when the call is over find nothing to do.
bool survives_late_helpers() {
  bool fine = true;
  for (const Size& size : kSizes) {
    std::vector<std::function<void()>> late;
    const auto keep = [&](auto task) { late.emplace_back(std::move(task)); };
    const size_t worked = order_alone(size, keep).size();
    for (const auto& task : late) task();
    fine = fine && worked == static_cast<size_t>(size.units);
  }
  return fine;
}

// On a thread that has no share of an earlier call.
bool on_new_thread(const std::function<bool()>& test) {
  bool passed = false;
  std::thread([&] { passed = test(); }).join();
  return passed;
}

}  // namespace

void test_threads(const Isa&, Report& report) {
  constexpr int kCalls = 50;
  report.that(on_new_thread(works_alone_in_order), "a thread takes what lies side by side");
  report.that(on_new_thread(survives_late_helpers), "late helpers do nothing");
  bool elsewhere = false;
  std::thread other([&] { elsewhere = works_once_on_each(kCalls); });
  report.that(works_once_on_each(kCalls), "each unit is worked on once");
  other.join();
  report.that(elsewhere, "so it is for another caller at the same time");
}

}  // namespace resfuse::test
