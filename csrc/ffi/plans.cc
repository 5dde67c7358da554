#include "ffi/plans.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "base/machine.h"
#include "conv/cascade.h"
#include "conv/jobs.h"
#include "conv/phases.h"
#include "conv/winograd_choice.h"
#include "ffi/select.h"
#include "grad/weight_plan.h"

namespace nb = nanobind;

namespace resfuse {
namespace {

Conv checked(const Shape& x, const Shape& kernel, const Geometry& geometry) {
  Check check;
  const Conv conv = make_conv(x, kernel, geometry, check);
  if (!check.passed()) throw nb::value_error(check.complaint().c_str());
  return conv;
}

Machine with_l2(std::optional<int64_t> l2) {
  Machine machine = machine_in_use();
  if (l2) machine.l2 = *l2;
  return machine;
}

nb::tuple to_tuple(const Cut& cut) { return nb::make_tuple(cut.size, cut.count); }
// The outputs of a tile along each side, and the tiles of an image.
nb::tuple to_tuple(const Tiling& tiling) {
  return nb::make_tuple(nb::make_tuple(tiling.d.size, tiling.h.outputs, tiling.w.outputs),
                        nb::make_tuple(tiling.d.count, tiling.h.tiles, tiling.w.tiles));
}

const char* name_of(Packing packing) {
  const char* const names[] = {"caller", "call", "unit"};
  return names[static_cast<int>(packing)];
}
const char* name_of(Inputs inputs) {
  const char* const names[] = {"pointwise", "gathered", "strided", "shared", "windows", "rows"};
  return names[static_cast<int>(inputs)];
}

// All jobs of a convolution, on the ISA in use.
Jobs jobs_of(const Conv& conv, const Machine& machine, const Request& request) {
  return make_jobs(conv, false, isa_in_use().tile, machine, request);
}

// The algorithm that a call takes, and the shape of its packed weights.
nb::tuple plan(const Shape& x, const Shape& kernel, const Shape& strides, const Shape& padding,
               const Shape& image_dilation, const Shape& window_dilation, int64_t groups,
               bool winograd) {
  const Conv conv = checked(x, kernel, {strides, padding, image_dilation, window_dilation, groups});
  const Jobs all = jobs_of(conv, machine_in_use(), {choice_in_use(winograd), true, false, 1});
  Algorithm algorithm = all.layout.grouped ? Algorithm::kGrouped : Algorithm::kDirect;
  for (const PlannedPhase& phase : all.phases)
    if (phase.plan.algorithm == Algorithm::kWinograd) algorithm = Algorithm::kWinograd;
  return nb::make_tuple(name_of(algorithm), packed_shape(all.layout));
}

nb::dict describe(const DirectPlan& direct) {
  const Passes& passes = direct.passes;
  nb::dict result;
  result["inputs"] = name_of(direct.inputs);
  result["passes"] =
      nb::make_tuple(passes.run_length, passes.runs, passes.pass_length, passes.pass_runs);
  result["pixel_floats"] = direct.pixel_floats;
  result["strip"] = direct.strip;
  return result;
}

nb::dict describe(const WinogradPlan& winograd) {
  nb::dict result;
  result["tiling"] = to_tuple(winograd.tiling);
  result["pass_channels"] = winograd.pass_channels;
  result["resident"] = winograd.resident;
  return result;
}

nb::dict describe(const PlannedPhase& phase) {
  const Plan& plan = phase.plan;
  nb::dict result =
      plan.algorithm == Algorithm::kWinograd ? describe(plan.winograd) : describe(plan.direct);
  result["algorithm"] = name_of(plan.algorithm);
  result["packing"] = name_of(plan.packing);
  result["tile"] = nb::make_tuple(isa_in_use().tile.mr, isa_in_use().tile.nr);
  result["pixels"] = phase.conv.pixels();
  result["taps"] = phase.conv.taps();
  result["panels"] = plan.layout.panels;
  result["blocks"] = to_tuple(plan.blocks);
  result["threads"] = plan.threads;
  result["scratch_floats"] = plan.packed_floats + plan.work_floats;
  nb::list units;
  for (int64_t index = 0; index < plan.units(); ++index) {
    const Unit unit = unit_at(plan, index);
    units.append(
        nb::make_tuple(unit.first_panel, unit.last_panel, unit.first_block, unit.last_block));
  }
  result["units"] = units;
  return result;
}

// All of the plans of a convolution's phases, on the ISA in use, for a machine with this much L2.
nb::list plans_in_full(const Shape& x, const Shape& kernel, const Shape& strides,
                       const Shape& padding, const Shape& image_dilation,
                       const Shape& window_dilation, int64_t groups, bool winograd, bool packed,
                       bool training, int64_t threads, std::optional<int64_t> l2) {
  const Conv conv = checked(x, kernel, {strides, padding, image_dilation, window_dilation, groups});
  const Jobs all = jobs_of(conv, with_l2(l2), {choice_in_use(winograd), packed, training, threads});
  nb::list result;
  for (const PlannedPhase& phase : all.phases) result.append(describe(phase));
  return result;
}

nb::dict describe(const Conv& conv, const WeightPlan& plan) {
  nb::dict result;
  result["algorithm"] = name_of(plan.algorithm);
  result["tile"] = nb::make_tuple(isa_in_use().tile.mr, isa_in_use().tile.nr);
  result["tiling"] = to_tuple(plan.tiling);
  result["pixels"] = conv.pixels();
  result["block_size"] = plan.block_size;
  result["row_floats"] = plan.row_floats;
  result["chunks"] = to_tuple(plan.chunks);
  result["scratch_floats"] = plan.work_floats;
  nb::list units;
  for (int64_t index = 0; index < plan.units(); ++index) {
    const WeightUnit unit = weight_unit_at(conv, plan, index);
    units.append(nb::make_tuple(unit.group, unit.first_channel, unit.channels, unit.first_column,
                                unit.columns, unit.first, unit.last, unit.chunk));
  }
  result["units"] = units;
  return result;
}

// All of the plans of a weight gradient's phases, on the ISA in use: no machine and no threads
// decide them.
nb::list weight_plans_in_full(const Shape& x, const Shape& kernel, const Shape& strides,
                              const Shape& padding, const Shape& image_dilation,
                              const Shape& window_dilation, int64_t groups, bool winograd) {
  const Conv conv = checked(x, kernel, {strides, padding, image_dilation, window_dilation, groups});
  const TileShape tile = isa_in_use().tile;
  const Choice choice = choice_in_use(winograd);
  nb::list result;
  for (const Phase& phase : weight_phases(conv, tile, choice))
    if (phase.conv.taps() > 0)
      result.append(describe(phase.conv, make_weight_plan(phase.conv, tile, choice)));
  return result;
}

// Kernel, strides, padding, dilations of image and window, groups, and whether Winograd is allowed.
using Part = std::tuple<Shape, Shape, Shape, Shape, Shape, int64_t, bool>;

// The parts on images of shape `x`; none where these are not two-dimensional, a part does not go
// directly, or together they make no cascade.
std::vector<Conv> parts_of(Shape x, const std::vector<Part>& parts) {
  if (x.size() != 4) return {};
  std::vector<Conv> convs;
  for (const auto& [kernel, strides, padding, image, window, groups, winograd] : parts) {
    const Conv conv = checked(x, kernel, {strides, padding, image, window, groups});
    if (winograd_output(conv, isa_in_use().tile, choice_in_use(winograd)) > 0) return {};
    convs.push_back(conv);
    x = output_shape(x.size(), conv);
  }
  return is_cascade(convs) ? convs : std::vector<Conv>{};
}

nb::tuple to_tuple(const Rows& rows) { return nb::make_tuple(rows.first, rows.last); }

// For each step of each unit its part, and the rows that it reads, makes and then holds.
nb::list describe(const std::vector<std::vector<Step>>& units) {
  nb::list result;
  for (const std::vector<Step>& unit : units) {
    nb::list steps;
    for (const auto& [part, band, read, made, held] : unit)
      steps.append(nb::make_tuple(part, to_tuple(read), to_tuple(made), to_tuple(held)));
    result.append(steps);
  }
  return result;
}

// How these convolutions run as a cascade, or None where they make none.
nb::object cascade_plan(const Shape& x, const std::vector<Part>& parts, int64_t threads,
                        std::optional<int64_t> l2) {
  const std::vector<Conv> convs = parts_of(x, parts);
  if (convs.empty()) return nb::none();
  const CascadePlan plan = plan_cascade(convs, isa_in_use().tile, with_l2(l2), threads);
  nb::dict result;
  result["pays"] = plan.pays;
  result["images"] = plan.images;
  result["groups"] = plan.groups;
  result["units"] = describe(plan.units);
  result["buffer_floats"] = plan.buffer_floats;
  result["threads"] = plan.threads;
  return result;
}

}  // namespace

void bind_plans(nb::module_& m) {
  m.def("plan", plan, nb::arg("x"), nb::arg("kernel"), nb::arg("strides"), nb::arg("padding"),
        nb::arg("image_dilation"), nb::arg("window_dilation"), nb::arg("groups"),
        nb::arg("winograd"));
  m.def("plans_in_full", plans_in_full, nb::arg("x"), nb::arg("kernel"), nb::arg("strides"),
        nb::arg("padding"), nb::arg("image_dilation"), nb::arg("window_dilation"),
        nb::arg("groups"), nb::arg("winograd"), nb::kw_only(), nb::arg("packed") = false,
        nb::arg("training") = false, nb::arg("threads") = 1, nb::arg("l2").none() = nb::none());
  m.def("weight_plans_in_full", weight_plans_in_full, nb::arg("x"), nb::arg("kernel"),
        nb::arg("strides"), nb::arg("padding"), nb::arg("image_dilation"),
        nb::arg("window_dilation"), nb::arg("groups"), nb::arg("winograd"));
  m.def("cascade_plan", cascade_plan, nb::arg("x"), nb::arg("parts"), nb::kw_only(),
        nb::arg("threads") = 1, nb::arg("l2").none() = nb::none());
  m.def("machine", [] {
    const Machine& machine = machine_in_use();
    return nb::make_tuple(machine.l1d, machine.l2, machine.l3);
  });
  m.def(
      "use_machine", [](int64_t l1d, int64_t l2, int64_t l3) { use_machine({l1d, l2, l3}); },
      nb::arg("l1d"), nb::arg("l2"), nb::arg("l3"));
}

}  // namespace resfuse
