#include "ffi/select.h"

#include <atomic>

namespace resfuse {
namespace {

std::atomic<Choice>& chosen() {
  static std::atomic<Choice> choice{Choice::kFastest};
  return choice;
}

}  // namespace

const Isa& find_isa(const Conv& conv, const Shape& packed, Check& check) {
  const Isa& in_use = isa_in_use();
  if (!check.passed()) return in_use;
  const auto reads = [&](const Isa& isa) {
    return packed_shape(make_layout(conv, isa.tile.nr)) == packed;
  };
  if (reads(in_use)) return in_use;
  for (const Isa* isa : usable_isas())
    if (reads(*isa)) return *isa;
  check.that(false, "packed weights have shape ", packed, ", expected ",
             packed_shape(make_layout(conv, in_use.tile.nr)),
             " or that of another instruction set of this machine: pack them here");
  return in_use;
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
