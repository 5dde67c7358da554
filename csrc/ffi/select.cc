#include "ffi/select.h"

#include <atomic>

namespace resfuse {
namespace {

std::atomic<Choice>& chosen() {
  static std::atomic<Choice> choice{Choice::kFastest};
  return choice;
}

bool is_at(const PackedPlace& place, const Conv& conv, int nr) {
  if (place.array.size() != 2) return packed_shape(make_layout(conv, nr)) == place.array;
  const PackedRows rows = packed_rows(conv, nr);
  const int64_t needed = rows.kernel + (place.has_numbers ? 2 * rows.numbers : 0);
  return place.array[1] == nr && place.row >= 0 && place.row <= place.array[0] - needed;
}

}  // namespace

Settings settings_in_use(int64_t threads) {
  return {&isa_in_use(), chosen().load(), &machine_in_use(), threads};
}

PackedRows packed_rows(const Conv& conv, int nr) {
  const Layout layout = make_layout(conv, nr);
  return {layout.panels * layout.taps * layout.depth, ceil_div(conv.out_c, int64_t{nr})};
}

const Isa& find_isa(const Isa& preferred, const Conv& conv, const PackedPlace& packed,
                    Check& check) {
  if (!check.passed()) return preferred;
  const auto reads = [&](const Isa& isa) { return is_at(packed, conv, isa.tile.nr); };
  if (reads(preferred)) return preferred;
  for (const Isa* isa : usable_isas())
    if (reads(*isa)) return *isa;
  const bool are_rows = packed.array.size() == 2;
  check.that(false, "packed weights have shape ", packed.array,
             are_rows ? " and begin in row " + std::to_string(packed.row) : "", ", expected ",
             packed_shape(make_layout(conv, preferred.tile.nr)), are_rows ? " of its rows" : "",
             " or that of another instruction set of this machine: pack them here");
  return preferred;
}

PackCall bind_pack(const Isa& preferred, const Shape& kernel, const Geometry& geometry,
                   const Shape& packed, Check& check) {
  const Conv conv = make_kernel_conv(kernel, geometry, check);
  check.that(packed.size() == 4, "packed weights have shape ", packed, ", expected four axes");
  const Isa& isa = find_isa(preferred, conv, {packed}, check);
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
