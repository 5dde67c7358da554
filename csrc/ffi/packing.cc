#include "ffi/packing.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "conv/run.h"
#include "ffi/select.h"

namespace nb = nanobind;

namespace resfuse {
namespace {

template <typename Float>
using Array = nb::ndarray<Float, nb::c_contig, nb::device::cpu>;

template <typename Float>
Shape shape_of(const Array<Float>& array) {
  Shape shape;
  for (size_t axis = 0; axis < array.ndim(); ++axis)
    shape.push_back(static_cast<int64_t>(array.shape(axis)));
  return shape;
}

// As the handler of that name. On this thread alone: several weights are packed at a time.
void pack(const Array<const float>& kernel, const Array<float>& packed, const Shape& image_dilation,
          const Shape& window_dilation, int64_t groups) {
  Check check;
  const Geometry geometry{{}, {}, image_dilation, window_dilation, groups};
  const auto [conv, layout] =
      bind_pack(isa_in_use(), shape_of(kernel), geometry, shape_of(packed), check);
  if (!check.passed()) throw nb::value_error(check.complaint().c_str());
  const nb::gil_scoped_release release;
  pack_all(conv, layout, false, kernel.data(), packed.data(), 1, [](const auto&) {});
}

}  // namespace

void bind_packing(nb::module_& m) {
  m.def("pack", pack, nb::arg("kernel").noconvert(), nb::arg("packed").noconvert(),
        nb::arg("image_dilation"), nb::arg("window_dilation"), nb::arg("groups"));
}

}  // namespace resfuse
