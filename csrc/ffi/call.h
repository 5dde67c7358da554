// A call of XLA's as it is bound: what is known before any of its numbers. A handler takes what it
// needs by name, checks it, chooses what to run it on, and plans.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ffi/select.h"
#include "ffi/validate.h"
#include "xla/ffi/api/ffi.h"

namespace resfuse {

namespace ffi = xla::ffi;

// An operand or a result, and its place among all of them. One that is optional may be absent.
template <typename Float>
struct Array {
  std::string name;
  Shape shape;
  size_t place;
  bool absent;
  int64_t before = 0;  // floats of the array that are not the call's
};
using Operand = Array<const float>;
using Result = Array<float>;

// Where the first operand, the first result, or both are whole batches, of which a call reads or
// writes the images of one portion alone: the last operand says which. Then a loop over them
// copies no images. What is written comes as the operand before, in whose memory the result is, for
// those of all other portions stay.
struct Portion {
  int64_t images = 0;  // of each; 0 where there are none
  bool reads = false, writes = false;
  int64_t count = 0;  // of portions
  int64_t read_floats = 0, written_floats = 0;
  size_t index = 0;  // the place of the operand that says which
};

class Call {
 public:
  Call(const Settings& settings, const ffi::RemainingArgs& operands,
       const ffi::RemainingRets& results, ffi::Dictionary attributes);

  // Takes the next array, which must be of float32. A wrong one gives a complaint.
  Operand operand(const char* name);
  Operand optional_operand(const char* name);
  Result result(const char* name);
  Result optional_result(const char* name);
  // Takes it if it is needed; otherwise there is none.
  Operand operand_if(bool needed, const char* name);
  Result result_if(bool needed, const char* name);
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

  const Portion& portion() const { return portion_; }

  const Settings settings;
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
  void take_portion();
  int64_t cut(Shape& shape, const std::string& name);
  void check_all_taken(const char* what, const Buffers& buffers);

  Buffers operands_, results_;
  Portion portion_;
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

// The weights of a call with an epilogue, its scale and shift, and what reads them.
struct Weights {
  Operand kernel, scale, shift;
  const Isa* isa;
};
// Of a kernel that was taken. If it came packed in rows of an array that holds those of many calls,
// one of two axes, the attribute `row` says where, and `has_numbers` whether scale and shift follow
// it there, each from a row on.
Weights bind_weights(Call& call, const Operand& kernel, const Conv& conv, bool is_packed);

}  // namespace resfuse
