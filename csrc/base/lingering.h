// Threads of the pool that have just worked, and wait a moment for more.
//
// Waking a thread that sleeps takes 20 to 70 us on a virtual machine, 10 to 30 of them from the one
// that wakes it; many of a network's calls at batch 1 take no longer in all. Within a network the
// next call is only microseconds away, so a helper first waits where whoever has work can hand it
// over, and only then goes back to the pool.
//
// Nobody depends on it: what no thread takes (as after a fork, whose child has no other threads)
// is a helper less, whose work the caller does.

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace resfuse {

// Looks whether it is `done` until it is, or so much time has passed; returns whether it is. On a
// busy machine other threads have the processor between looks.
template <typename Done>
bool spin_until(const Done& done, std::chrono::microseconds most) {
  constexpr int kLooks = 32;  // one or two microseconds
  const auto end = std::chrono::steady_clock::now() + most;
  do {
    for (int look = 0; look < kLooks; ++look) {
      if (done()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

class Lingering {
 public:
  using Job = std::function<void()>;

  // Hands the job to as many threads as wait, but no more than `most`; returns how many have it.
  static int64_t hand_over(const Job& job, int64_t most) {
    int64_t handed = 0;
    for (size_t i = 0; i < kSlots && handed < most; ++i) {
      std::atomic<const Job*>& slot = slots()[i].job;
      const Job* expected = waits();
      if (slot.load(std::memory_order_relaxed) != expected) continue;
      auto copy = std::make_unique<const Job>(job);
      if (!slot.compare_exchange_strong(expected, copy.get(), std::memory_order_acq_rel)) continue;
      copy.release();  // is the other thread's now
      ++handed;
    }
    return handed;
  }

  // Does one job after another until none has come for a while. The pool may have other work for
  // this thread, to which it gets after kStay in any case.
  static void linger() {
    const auto end = std::chrono::steady_clock::now() + kStay;
    while (std::chrono::steady_clock::now() < end) {
      const std::unique_ptr<const Job> job = next();
      if (!job) return;
      (*job)();
    }
  }

 private:
  // As long as waking takes, and what a network has between two calls. In 300 us a helper is still
  // there when a network runs again, for a hundredth of its time on one image; but in training
  // XLA's operations want the thread: ResNet-18 on CIFAR's images took 1.03 times as long.
  static constexpr std::chrono::microseconds kWait{100};
  static constexpr std::chrono::milliseconds kStay{10};
  static constexpr size_t kSlots = 64;

  struct alignas(64) Slot {
    std::atomic<const Job*> job{nullptr};  // null: free; waits(): a thread waits here
  };

  static std::unique_ptr<const Job> next() {
    Slot* const slot = enter();
    if (!slot) return nullptr;
    const auto has_job = [slot] { return slot->job.load(std::memory_order_relaxed) != waits(); };
    spin_until(has_job, kWait);
    const Job* const job = slot->job.exchange(nullptr, std::memory_order_acq_rel);
    return std::unique_ptr<const Job>(job == waits() ? nullptr : job);
  }

  // A slot where this thread waits from now on; null if none is free.
  static Slot* enter() {
    for (size_t i = 0; i < kSlots; ++i) {
      const Job* expected = nullptr;
      if (slots()[i].job.compare_exchange_strong(expected, waits(), std::memory_order_acq_rel))
        return &slots()[i];
    }
    return nullptr;
  }

  static const Job* waits() {
    static const Job job;
    return &job;
  }

  // These are never freed: a thread of the pool may outlive what is static here.
  static Slot* slots() {
    static Slot* const slots = new Slot[kSlots];
    return slots;
  }
};

}  // namespace resfuse
