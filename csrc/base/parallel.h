// A parallel-for over somebody else's thread pool that cannot deadlock.
//
// The caller may itself be one of the pool's threads, so it must never wait for a task that has not
// started. Work lies in a queue; the caller works too, and at the end waits only for units that
// others have already taken. A helper that starts late finds nothing left and touches nothing but
// the shared queue.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/lingering.h"

namespace resfuse {

// Some units in a row. One thread, the owner, takes the first that is left, all others the last.
// Together they take no more than there are, so none is taken from both ends.
class alignas(64) Share {
 public:
  void set(int64_t first, int64_t last) {
    first_ = first;
    last_ = last;
    left_ = last - first;
  }

  // True for the first who asks, the owner.
  bool own() { return !owned_.exchange(true, std::memory_order_relaxed); }

  int64_t left() const { return left_.load(std::memory_order_relaxed); }
  // A unit, or -1 when all are taken.
  int64_t take_first() { return may_take() ? first_++ : -1; }
  int64_t take_last() {
    return may_take() ? last_.fetch_sub(1, std::memory_order_relaxed) - 1 : -1;
  }

 private:
  bool may_take() { return left() > 0 && left_.fetch_sub(1, std::memory_order_relaxed) > 0; }

  std::atomic<bool> owned_{false};
  std::atomic<int64_t> left_{0}, last_{0};
  int64_t first_ = 0;  // is the owner's alone
};

// The units of a call, in a share for each of its threads. Units beside each other read and write
// what lies beside each other, and a thread's shares of one call and of the next lie in the same
// place: so it finds most of what it reads in its own cache, where it has written it.
class Queue {
 public:
  Queue(int64_t units, int64_t threads)
      : units_(units), threads_(threads), shares_(new Share[static_cast<size_t>(threads)]) {
    for (int64_t i = 0; i < threads; ++i)
      share(i).set(units * i / threads, units * (i + 1) / threads);
  }

  // Makes this thread the owner of the share that begins where its last one did, or of the next
  // that has none. No more threads may ask than there are shares.
  Share& own_share() {
    static thread_local struct {
      int64_t share = 0, of = 1;
    } last;
    int64_t i = last.share * threads_ / last.of;
    while (!share(i).own()) i = (i + 1) % threads_;
    if (threads_ > 1) last = {i, threads_};
    return share(i);
  }

  // The next unit of the thread's own share, then of the one with most left; -1 when all are taken.
  int64_t take(Share& own) {
    int64_t unit = own.take_first();
    while (unit < 0) {
      Share& fullest =
          *std::max_element(shares_.get(), shares_.get() + threads_,
                            [](const Share& a, const Share& b) { return a.left() < b.left(); });
      if (fullest.left() <= 0) return -1;
      unit = fullest.take_last();
    }
    return unit;
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
  Share& share(int64_t i) { return shares_[static_cast<size_t>(i)]; }

  const int64_t units_, threads_;
  const std::unique_ptr<Share[]> shares_;
  std::atomic<int64_t> finished_{0};
  std::mutex mutex_;
  std::condition_variable all_finished_;
};

// Stages of units, of which each needs all of the one before. Threads that came for one stay for
// the next: handed over anew, its work would find the others still on their way back.
class Stages {
 public:
  Stages(const std::vector<int64_t>& units, int64_t threads) {
    for (const int64_t count : units) queues_.emplace_back(count, threads);
  }

  Share& own_share() { return queues_.front().own_share(); }

  // The next unit, of the first stage that has any left once those before it have ended; -1 when
  // all are taken. `own` is the thread's share of the stage.
  int64_t take(size_t& stage, Share*& own) {
    int64_t unit = queues_[stage].take(*own);
    while (unit < 0 && stage + 1 < queues_.size()) {
      queues_[stage].wait();
      own = &queues_[++stage].own_share();
      unit = queues_[stage].take(*own);
    }
    return unit;
  }

  void finish_one(size_t stage) { queues_[stage].finish_one(); }
  void wait() { queues_.back().wait(); }

 private:
  std::deque<Queue> queues_;
};

// The units that one thread takes, one after the other.
class Units {
 public:
  Units(Stages& stages, Share& own) : stages_(stages), own_(&own) {}

  // Ends the unit, if there is one, and takes the next; false when all are taken.
  bool next() {
    if (unit_ >= 0) stages_.finish_one(stage_);
    unit_ = stages_.take(stage_, own_);
    return unit_ >= 0;
  }

  size_t stage() const { return stage_; }
  int64_t unit() const { return unit_; }

 private:
  Stages& stages_;
  Share* own_;
  size_t stage_ = 0;
  int64_t unit_ = -1;
};

// Hands a task to the pool.
using Schedule = std::function<void(std::function<void()>)>;

// Calls `work(units)` once on each thread that gets a unit, the first of `units`: it takes the
// others itself. Of `work` nothing is touched before, for until then the caller may have returned;
// the caller waits for all units.
inline void work_in_stages(const std::vector<int64_t>& units, int64_t max_threads,
                           const Schedule& schedule, const std::function<void(Units&)>& work) {
  const int64_t most = units.empty() ? 0 : *std::max_element(units.begin(), units.end());
  if (most <= 0) return;
  const int64_t threads = std::clamp<int64_t>(max_threads, 1, most);
  const std::shared_ptr<Stages> stages(new Stages(units, threads));  // CMakeLists.txt says why
  const auto take_part = [&work](Stages& in, Share& own) {
    Units mine(in, own);
    if (mine.next()) work(mine);
  };
  const auto help = [stages, take_part] { take_part(*stages, stages->own_share()); };
  Share& own = stages->own_share();
  // Out of memory here only means fewer helpers; those that got work rely on this frame.
  try {
    int64_t helpers = threads > 1 ? Lingering::hand_over(help, threads - 1) : 0;
    for (; helpers < threads - 1; ++helpers)
      schedule([help] {
        help();
        Lingering::linger();
      });
  } catch (...) {
  }
  take_part(*stages, own);
  stages->wait();
}

// Calls `make_worker()` once on each thread that gets work, and `worker(stage, unit)` once for each
// unit of each stage. Workers must not throw.
template <typename MakeWorker>
void parallel_stages(const std::vector<int64_t>& units, int64_t max_threads,
                     const Schedule& schedule, const MakeWorker& make_worker) {
  work_in_stages(units, max_threads, schedule, [&make_worker](Units& mine) {
    auto worker = make_worker();
    do worker(mine.stage(), mine.unit());
    while (mine.next());
  });
}

// The same with a single stage, and workers alike: calls `work(unit)`.
template <typename Work>
void parallel_for(int64_t units, int64_t max_threads, const Schedule& schedule, const Work& work) {
  work_in_stages({units}, max_threads, schedule, [&work](Units& mine) {
    do work(mine.unit());
    while (mine.next());
  });
}

}  // namespace resfuse
