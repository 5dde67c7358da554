// The Python module, which hands out the handlers, and says and sets what they run on.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "conv/program.h"
#include "ffi/handler.h"
#include "ffi/packing.h"
#include "ffi/plans.h"
#include "isa/isa.h"

namespace nb = nanobind;

namespace {

nb::capsule capsule(XLA_FFI_Handler* handler) {
  return nb::capsule(reinterpret_cast<void*>(handler));
}

// Of each target its stages, as JAX takes them.
nb::dict registrations() {
  nb::dict targets;
  for (const auto& family :
       {resfuse::conv_handlers(), resfuse::cascade_handlers(), resfuse::gradient_handlers(),
        resfuse::norm_handlers(), resfuse::pool_handlers()})
    for (const auto& [name, execute] : family) {
      nb::dict stages;
      stages["instantiate"] = capsule(resfuse::instantiate);
      stages["execute"] = capsule(execute);
      targets[("resfuse_" + std::string(name)).c_str()] = stages;
    }
  return targets;
}

nb::tuple isas() {
  nb::list names;
  for (const resfuse::Isa* isa : resfuse::usable_isas()) names.append(isa->name);
  return nb::tuple(names);
}

nb::tuple operations() {
  nb::list names;
  for (const auto& [name, taken] : resfuse::kOperations) names.append(name);
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
  m.def("operations", operations);
  m.def("isas", isas);
  m.def("isa", [] { return resfuse::isa_in_use().name; });
  m.def("use_isa", use_isa, nb::arg("name"));
  m.def("use_algorithm", use_algorithm, nb::arg("name"));
  resfuse::bind_packing(m);
  resfuse::bind_plans(m);
  m.def("fma_peak", fma_peak, nb::arg("seconds"));
  m.attr("ffi_version") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
}
