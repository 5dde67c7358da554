// Scratch memory that the process keeps from call to call: as many blocks as are in use at a time,
// whatever the number of threads that take turns.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>

#if defined(__linux__)
#include <sched.h>
#endif

namespace resfuse {

// A block of memory, until the end of its scope.
class Lease {
 public:
  // For one thread: what was last used on its CPU may still lie in that one's cache.
  static Lease scratch(size_t bytes) {
    static Slots slots;
    return {slots, this_cpu(), bytes};
  }

  // For packed weights, which all threads of a call read.
  static Lease weights(size_t bytes) {
    static Slots slots;
    return {slots, 0, bytes};
  }

  // Aligned to 64; null when there is no memory.
  char* data() const { return slot_->data; }

  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  ~Lease() {
    // What an unusually large problem took goes back to the system.
    if (slot_ == &own_ || slot_->size > kKeep) resize(*slot_, 0);
    slot_->lent.store(false, std::memory_order_release);
  }

 private:
  static constexpr size_t kSlots = 64;
  static constexpr size_t kKeep = size_t{10} << 20;

  struct Slot {
    std::atomic<bool> lent{false};
    char* data = nullptr;
    size_t size = 0;
  };
  // Never freed: a thread of the pool may outlive what is static here.
  struct Slots {
    Slot* const slots = new Slot[kSlots];
  };

  Lease(const Slots& slots, size_t first, size_t bytes) : slot_(&own_) {
    for (size_t i = 0; bytes > 0 && i < kSlots && slot_ == &own_; ++i) {
      Slot& slot = slots.slots[(first + i) % kSlots];
      if (!slot.lent.exchange(true, std::memory_order_acquire)) slot_ = &slot;
    }
    if (bytes > slot_->size) resize(*slot_, bytes);
  }

  static void resize(Slot& slot, size_t bytes) {
    std::free(slot.data);
    slot.size = (bytes + 4095) / 4096 * 4096;
    slot.data = bytes == 0 ? nullptr : static_cast<char*>(std::aligned_alloc(64, slot.size));
    if (!slot.data) slot.size = 0;
  }

  static size_t this_cpu() {
#if defined(__linux__)
    const int cpu = sched_getcpu();
    return cpu < 0 ? 0 : static_cast<size_t>(cpu);
#else
    return 0;
#endif
  }

  Slot own_;  // when all are lent
  Slot* slot_;
};

}  // namespace resfuse
