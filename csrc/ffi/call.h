// A call as XLA hands it over, and the handlers that answer it: each takes what it needs by name,
// checks it, chooses what to run it on, and runs it.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ffi/select.h"
#include "ffi/validate.h"
#include "xla/ffi/api/ffi.h"

namespace resfuse {

namespace ffi = xla::ffi;

// An operand or a result. One that is optional may be absent, its data is null then.
template <typename Float>
struct Array {
  std::string name;
  Shape shape;
  Float* data;
  bool absent;
};
using Operand = Array<const float>;
using Result = Array<float>;

class Call {
 public:
  Call(ffi::ThreadPool threads, const ffi::RemainingArgs& operands,
       const ffi::RemainingRets& results, ffi::Dictionary attributes);

  // Takes the next array, which must be of float32. A wrong one gives a complaint and has no data.
  Operand operand(const char* name);
  Operand optional_operand(const char* name);
  Result result(const char* name);
  Result optional_result(const char* name);
  // From here on, names are those of a part: "kernel" stands for "kernel_0" and so on.
  void enter_part(int64_t part) { suffix_ = "_" + std::to_string(part); }
  // How many operands were not taken yet.
  size_t operands_left() const;
  // Takes an attribute. A wrong one gives a complaint and is zero.
  int64_t integer(const char* name);
  bool flag(const char* name);
  Shape integers(const char* name);
  std::vector<float> floats(const char* name);  // which come as their bits

  // Complains unless the array, if it is there, has this shape.
  template <typename Float>
  void expect(const Array<Float>& array, const Shape& shape) {
    check.that(array.absent || array.shape == shape, array.name, " has shape ", array.shape,
               ", expected ", shape);
  }

  // Whether, after all was taken, there is neither a complaint nor anything left.
  bool is_valid();
  ffi::Error invalid() const;

  int64_t max_threads() const { return threads_.num_threads(); }
  auto schedule() {
    return [this](auto task) { threads_.Schedule(std::move(task)); };
  }

  Check check;

 private:
  struct Buffers {
    std::vector<ffi::AnyBuffer> given;
    std::vector<std::string> taken;
  };
  template <typename Float>
  Array<Float> take(Buffers& from, const char* name, bool optional);
  template <typename T>
  T attribute(const char* name);
  void check_all_taken(const char* what, const Buffers& buffers);

  ffi::ThreadPool threads_;
  Buffers operands_, results_;
  ffi::Dictionary attributes_;
  std::vector<bool> taken_attributes_;  // by their places
  std::string suffix_;
};

// What the attributes say that every call of a convolution has: strides, padding, dilations,
// groups, and whether Winograd's algorithm is allowed.
struct ConvCall {
  Conv conv;
  Choice choice;
  Shape output;
};
ConvCall bind_conv(Call& call, const Shape& x, const Shape& kernel);

// Success, or else the error that there is no memory for `memory`.
ffi::Error success_if(bool done, const char* memory);

using Answer = ffi::Error (*)(Call&);

// A handler under the name by which programs know it.
struct Handler {
  const char* name;
  XLA_FFI_Handler* handle;
};

// Makes the handler that XLA calls: binding is the same for all, so a call says what is wrong by
// name.
const ffi::Ffi* make_handler(Answer answer);

template <Answer answer>
XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
  static const ffi::Ffi* const handler = make_handler(answer);
  return handler->Call(frame);
}

// All handlers: each file lists its own, at its end.
std::vector<Handler> conv_handlers();
std::vector<Handler> cascade_handlers();
std::vector<Handler> gradient_handlers();
std::vector<Handler> norm_handlers();
std::vector<Handler> pool_handlers();

}  // namespace resfuse
