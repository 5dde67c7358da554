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
  const Isa* isas[kMaxIsas];
  const int count = usable_isas(isas);
  isa = &isa_in_use();
  for (int i = 0; i < count && !reads(*isa); ++i) isa = isas[i];
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
    case Algorithm::kLanes:
      return "lanes";
    case Algorithm::kWinograd:
      return "winograd";
    default:
      return "direct";
  }
}

}  // namespace resfuse
