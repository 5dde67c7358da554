// Scratch memory that a thread keeps from call to call. A pool thread runs one kernel at a time, so
// nothing else uses it meanwhile.

#pragma once

#include <cstddef>
#include <cstdlib>

namespace resfuse {

class Arena {
 public:
  // At least `bytes`, aligned to 64, or null when there is no memory.
  char* reserve(size_t bytes) {
    if (bytes <= size_) return data_;
    release();
    size_ = (bytes + 4095) / 4096 * 4096;
    data_ = static_cast<char*>(std::aligned_alloc(64, size_));
    if (!data_) size_ = 0;
    return data_;
  }

  // Gives back what an unusually large problem took.
  void trim() {
    if (size_ > kKeep) release();
  }

  static Arena& of_this_thread() {
    thread_local Arena arena;
    return arena;
  }

  // For packed weights, which other threads read while this one works on the arena above.
  static Arena& weights_of_this_thread() {
    thread_local Arena arena;
    return arena;
  }

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { release(); }

 private:
  static constexpr size_t kKeep = size_t{10} << 20;

  void release() {
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
  }

  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace resfuse
