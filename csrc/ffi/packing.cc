#include "ffi/packing.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "base/pages.h"
#include "base/reversed_copy.h"
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

// Kernel, packed weights, dilations of image and window, and groups.
using Task = std::tuple<Array<const float>, Array<float>, Shape, Shape, int64_t>;

// As the handler of that name, for several kernels, on this thread alone.
void pack(const std::vector<Task>& tasks) {
  std::vector<PackCall> calls;
  for (const auto& [kernel, packed, image_dilation, window_dilation, groups] : tasks) {
    Check check;
    const Geometry geometry{{}, {}, image_dilation, window_dilation, groups};
    calls.push_back(bind_pack(isa_in_use(), shape_of(kernel), geometry, shape_of(packed), check));
    if (!check.passed()) throw nb::value_error(check.complaint().c_str());
  }
  const nb::gil_scoped_release release;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto& [kernel, packed, image_dilation, window_dilation, groups] = tasks[i];
    find_pages(packed.data(), packed.nbytes());
    pack_all(calls[i].conv, calls[i].layout, false, kernel.data(), packed.data(), 1,
             [](const auto&) {});
  }
}

// Copies each of `from`, of three axes, to that of `to` with the axes in reverse order.
void reverse_axes(const std::vector<Array<const float>>& from,
                  const std::vector<Array<float>>& to) {
  if (from.size() != to.size()) throw nb::value_error("to must have as many arrays as from");
  for (size_t i = 0; i < from.size(); ++i) {
    const Shape shape = shape_of(from[i]);
    if (shape.size() != 3 || shape_of(to[i]) != Shape(shape.rbegin(), shape.rend()))
      throw nb::value_error("to must have the three axes of from in reverse order");
  }
  const nb::gil_scoped_release release;
  for (size_t i = 0; i < from.size(); ++i) {
    const int64_t* const sizes = from[i].shape_ptr();
    copy_reversed(from[i].data(), sizes[0], sizes[1], sizes[2], to[i].data());
  }
}

}  // namespace

void bind_packing(nb::module_& m) {
  m.def("pack", pack, nb::arg("tasks").noconvert());
  m.def("reverse_axes", reverse_axes, nb::arg("from_").noconvert(), nb::arg("to").noconvert());
}

}  // namespace resfuse
