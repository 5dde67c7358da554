#include "ffi/select.h"

#include <atomic>

namespace resfuse {
namespace {

std::atomic<Choice>& chosen() {
  static std::atomic<Choice> choice{Choice::kFastest};
  return choice;
}

}  // namespace

Settings settings_in_use(int64_t threads) {
  return {&isa_in_use(), chosen().load(), &machine_in_use(), threads};
}

const Isa& find_isa(const Isa& preferred, const Conv& conv, const Shape& packed, Check& check) {
  if (!check.passed()) return preferred;
  const auto reads = [&](const Isa& isa) {
    return packed_shape(make_layout(conv, isa.tile.nr)) == packed;
  };
  if (reads(preferred)) return preferred;
  for (const Isa* isa : usable_isas())
    if (reads(*isa)) return *isa;
  check.that(false, "packed weights have shape ", packed, ", expected ",
             packed_shape(make_layout(conv, preferred.tile.nr)),
             " or that of another instruction set of this machine: pack them here");
  return preferred;
}

PackCall bind_pack(const Isa& preferred, const Shape& kernel, const Geometry& geometry,
                   const Shape& packed, Check& check) {
  const Conv conv = make_kernel_conv(kernel, geometry, check);
  const Isa& isa = find_isa(preferred, conv, packed, check);
  return {conv, check.passed() ? make_layout(conv, isa.tile.nr) : Layout{}};
}

Choice choice_in_use(bool winograd) { return winograd ? chosen().load() : Choice::kDirect; }

bool use_algorithm(const std::string& name) {
  const bool direct = name == "direct", winograd = name == "winograd";
  if (!direct && !winograd && name != "fastest") return false;
  chosen() = direct ? Choice::kDirect : winograd ? Choice::kWinograd : Choice::kFastest;
  return true;
}

const char* name_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kGrouped:
      return "grouped";
    case Algorithm::kWinograd:
      return "winograd";
    default:
      return "direct";
  }
}

}  // namespace resfuse
