// An execution of a call that was bound before: where its arrays lie this time, and its threads.

#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "base/memory.h"
#include "base/parallel.h"
#include "ffi/call.h"

namespace resfuse {

class Execution {
 public:
  Execution(ffi::ThreadPool threads, const ffi::RemainingArgs& operands,
            const ffi::RemainingRets& results)
      : threads_(threads), operands_(operands), results_(results) {
    for (size_t place = 0; place < results_.size(); ++place) {
      const ffi::AnyBuffer buffer = **results_.get<ffi::AnyBuffer>(place);
      ask_for_huge_pages(buffer.untyped_data(), buffer.size_bytes());
    }
  }

  // Goes to the portion that an operand says. False if there is none of that number.
  bool move_to(const Portion& portion) {
    int32_t index = 0;
    std::memcpy(&index, operands_.get<ffi::AnyBuffer>(portion.index)->untyped_data(),
                sizeof(index));
    read_before_ = index * portion.read_floats, written_before_ = index * portion.written_floats;
    return index >= 0 && index < portion.count;
  }

  // Is null if the array is absent.
  const float* data(const Operand& operand) const {
    if (operand.absent) return nullptr;
    const void* const array = operands_.get<ffi::AnyBuffer>(operand.place)->untyped_data();
    return static_cast<const float*>(array) + operand.before +
           (operand.place == 0 ? read_before_ : 0);
  }
  float* data(const Result& result) const {
    if (result.absent) return nullptr;
    void* const array = (*results_.get<ffi::AnyBuffer>(result.place))->untyped_data();
    return static_cast<float*>(array) + (result.place == 0 ? written_before_ : 0);
  }

  int64_t max_threads() const { return threads_.num_threads(); }
  Schedule schedule() {
    return [this](std::function<void()> task) { threads_.Schedule(std::move(task)); };
  }

 private:
  ffi::ThreadPool threads_;
  const ffi::RemainingArgs& operands_;
  const ffi::RemainingRets& results_;
  int64_t read_before_ = 0, written_before_ = 0;  // floats
};

// A call as binding leaves it: all that does not depend on its numbers is done. Several threads may
// execute it at a time.
using Bound = std::function<ffi::Error(Execution&)>;

// Success, or else the error that there is no memory for `memory`.
inline ffi::Error success_if(bool done, const char* memory) {
  if (done) return ffi::Error::Success();
  return {ffi::ErrorCode::kResourceExhausted, std::string("resfuse: out of memory for ") + memory};
}

}  // namespace resfuse
