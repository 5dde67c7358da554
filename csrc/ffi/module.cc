// The Python module: hands out the handlers, and says and sets what they run on.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "ffi/ffi.h"
#include "ffi/plans.h"
#include "ffi/select.h"
#include "isa/isa.h"

namespace nb = nanobind;

namespace {

template <typename Handler>
nb::capsule encapsulate(Handler* handler) {
  return nb::capsule(reinterpret_cast<void*>(handler));
}

nb::dict registrations() {
  nb::dict targets;
  targets["resfuse_conv_affine"] = encapsulate(resfuse::conv_affine);
  targets["resfuse_conv_statistics"] = encapsulate(resfuse::conv_statistics);
  targets["resfuse_pack"] = encapsulate(resfuse::pack);
  targets["resfuse_max_pool"] = encapsulate(resfuse::max_pool);
  targets["resfuse_conv_input_gradient"] = encapsulate(resfuse::conv_input_gradient);
  targets["resfuse_conv_weight_gradient"] = encapsulate(resfuse::conv_weight_gradient);
  targets["resfuse_conv_gradients"] = encapsulate(resfuse::conv_gradients);
  targets["resfuse_normalize"] = encapsulate(resfuse::normalize);
  targets["resfuse_norm_sums"] = encapsulate(resfuse::norm_sums);
  targets["resfuse_norm_gradient"] = encapsulate(resfuse::norm_gradient);
  targets["resfuse_max_pool_gradient"] = encapsulate(resfuse::max_pool_gradient);
  return targets;
}

nb::tuple isas() {
  nb::list names;
  for (const resfuse::Isa* isa : resfuse::usable_isas()) names.append(isa->name);
  return nb::tuple(names);
}

void use_isa(const std::string& name) {
  if (!resfuse::use_isa(name.c_str()))
    throw nb::value_error(("no instruction set named '" + name + "' on this machine").c_str());
}

void use_algorithm(const std::string& name) {
  if (!resfuse::use_algorithm(name))
    throw nb::value_error(("no algorithm named '" + name + "'").c_str());
}

double fma_peak(double seconds) {
  const nb::gil_scoped_release release;
  return resfuse::measure_peak(seconds);
}

}  // namespace

NB_MODULE(_ext, m) {
  m.doc() = "The fused convolution kernel: FFI handlers and the instruction sets they run on.";
  m.def("registrations", registrations);
  m.def("isas", isas);
  m.def("isa", [] { return resfuse::isa_in_use().name; });
  m.def("use_isa", use_isa, nb::arg("name"));
  m.def("use_algorithm", use_algorithm, nb::arg("name"));
  resfuse::bind_plans(m);
  m.def("fma_peak", fma_peak, nb::arg("seconds"));
  m.attr("ffi_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
}
