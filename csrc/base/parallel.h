// A parallel-for over somebody else's thread pool that cannot deadlock.
//
// The caller may itself be one of the pool's threads, so it must never wait for a task that has not
// started. Work sits behind an atomic counter; the caller works too, and at the end waits only for
// units that others have already taken. A helper that starts late finds nothing left and touches
// nothing but the shared counter.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/lingering.h"

namespace resfuse {

class Queue {
 public:
  explicit Queue(int64_t units) : units_(units) {}

  // The next unit, or -1 when all are taken.
  int64_t take() {
    const int64_t unit = next_.fetch_add(1, std::memory_order_relaxed);
    return unit < units_ ? unit : -1;
  }

  // Whoever finishes the last unit wakes the caller, who sees what all of them wrote.
  void finish_one() {
    if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 < units_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    all_finished_.notify_all();
  }

  void wait() {
    const auto done = [this] { return finished_.load(std::memory_order_acquire) == units_; };
    // A unit takes tens of microseconds, about what falling asleep and waking up costs.
    if (spin_until(done, std::chrono::microseconds(100))) return;
    std::unique_lock<std::mutex> lock(mutex_);
    all_finished_.wait(lock, done);
  }

 private:
  const int64_t units_;
  std::atomic<int64_t> next_{0}, finished_{0};
  std::mutex mutex_;
  std::condition_variable all_finished_;
};

// Calls `make_worker()` once on each thread that gets work, and the worker once for each unit.
// `schedule(task)` hands a task to the pool; workers must not throw.
template <typename Schedule, typename MakeWorker>
void parallel_for(int64_t units, int64_t threads, Schedule schedule,
                  const MakeWorker& make_worker) {
  if (units <= 0) return;
  const auto queue = std::make_shared<Queue>(units);
  // Until a unit is taken, make_worker may be gone: the caller has returned.
  const auto work = [queue, &make_worker] {
    int64_t unit = queue->take();
    if (unit < 0) return;
    auto worker = make_worker();
    while (unit >= 0) {
      worker(unit);
      queue->finish_one();
      unit = queue->take();
    }
  };
  // Out of memory here only means fewer helpers; those that got work rely on this frame.
  try {
    int64_t helpers = threads > 1 ? Lingering::hand_over(work, threads - 1) : 0;
    for (; helpers < threads - 1; ++helpers)
      schedule([work] {
        work();
        Lingering::linger();
      });
  } catch (...) {
  }
  work();
  queue->wait();
}

}  // namespace resfuse
