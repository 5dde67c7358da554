// An execution of a call that was bound before: where its arrays lie this time, and its threads.

#pragma once

#include <cstdint>
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

  // Is null if the array is absent.
  const float* data(const Operand& operand) const {
    if (operand.absent) return nullptr;
    const void* const array = operands_.get<ffi::AnyBuffer>(operand.place)->untyped_data();
    return static_cast<const float*>(array) + operand.before;
  }
  float* data(const Result& result) const {
    if (result.absent) return nullptr;
    return static_cast<float*>((*results_.get<ffi::AnyBuffer>(result.place))->untyped_data());
  }

  int64_t max_threads() const { return threads_.num_threads(); }
  Schedule schedule() {
    return [this](std::function<void()> task) { threads_.Schedule(std::move(task)); };
  }

 private:
  ffi::ThreadPool threads_;
  const ffi::RemainingArgs& operands_;
  const ffi::RemainingRets& results_;
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
