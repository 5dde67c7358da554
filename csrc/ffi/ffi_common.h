// What the handlers have in common. Nothing in them trusts its caller, and no exception leaves one.

#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "base/memory.h"
#include "ffi/ffi.h"
#include "ffi/problem.h"

namespace resfuse {

namespace ffi = xla::ffi;
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::Result<ffi::Buffer<ffi::F32>>;
using Attribute = ffi::Span<const int64_t>;

inline Shape shape(Attribute values) { return {values.begin(), values.end()}; }
inline Shape shape(const Input& buffer) { return shape(buffer.dimensions()); }
inline Shape shape(Output& buffer) { return shape(buffer->dimensions()); }

// The memory of a result.
inline float* to_write(Output& buffer) {
  ask_for_huge_pages(buffer->untyped_data(), buffer->size_bytes());
  return buffer->typed_data();
}

inline ffi::Error invalid(const Problem& problem) {
  return ffi::Error::InvalidArgument("resfuse: " + problem);
}

inline ffi::Error out_of_memory(const char* what) {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    std::string("resfuse: out of memory for ") + what);
}

inline auto schedule_on(ffi::ThreadPool& pool) {
  return [&pool](auto task) { pool.Schedule(std::move(task)); };
}

// What every handler gets besides its buffers and attributes.
inline auto bind() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>(); }

// The handler as XLA calls it: without its exceptions, which only allocation can throw here.
template <auto implementation>
struct NoThrow;
template <typename... Args, ffi::Error (*implementation)(Args...)>
struct NoThrow<implementation> {
  static ffi::Error call(Args... args) {
    try {
      return implementation(std::move(args)...);
    } catch (const std::exception& error) {
      return ffi::Error::Internal(std::string("resfuse: ") + error.what());
    }
  }
};

}  // namespace resfuse
