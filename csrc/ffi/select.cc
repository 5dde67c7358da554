#include "ffi/select.h"

#include <atomic>

namespace resfuse {
namespace {

std::atomic<Choice>& chosen() {
  static std::atomic<Choice> choice{Choice::kFastest};
  return choice;
}

}  // namespace

Problem find_isa(const Conv& conv, const Shape& packed, const Isa*& isa) {
  const auto reads = [&](const Isa& candidate) {
    return packed_shape(make_layout(conv, candidate.tile.nr)) == packed;
  };
  isa = &isa_in_use();
  for (const Isa* usable : usable_isas())
    if (!reads(*isa)) isa = usable;
  if (reads(*isa)) return {};
  return "packed weights have shape " + to_string(packed) + ", which is none that the " +
         "instruction sets of this machine read: pack them here";
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
