#include "ffi/call.h"

#include <cstring>
#include <sstream>
#include <string_view>

namespace resfuse {
namespace {

std::string to_text(ffi::DataType type) {
  std::ostringstream text;
  text << type;
  return text.str();
}

}  // namespace

Call::Call(const Settings& settings_in_use, const ffi::RemainingArgs& operands,
           const ffi::RemainingRets& results, ffi::Dictionary attributes)
    : settings(settings_in_use), attributes_(attributes), taken_attributes_(attributes.size()) {
  for (size_t i = 0; i < operands.size(); ++i)
    operands_.given.push_back(*operands.get<ffi::AnyBuffer>(i));
  for (size_t i = 0; i < results.size(); ++i)
    results_.given.push_back(**results.get<ffi::AnyBuffer>(i));
}

template <typename Float>
Array<Float> Call::take(Buffers& from, const char* plain, bool optional) {
  const std::string name = plain + suffix_;
  const size_t index = from.taken.size();
  from.taken.push_back(name);
  if (index >= from.given.size()) {
    check.that(optional, name, " is missing");
    return {name, {}, index, true};
  }
  const ffi::AnyBuffer& buffer = from.given[index];
  check.that(buffer.element_type() == ffi::F32, name, " has dtype ", to_text(buffer.element_type()),
             ", expected F32");
  const auto sizes = buffer.dimensions();
  return {name, {sizes.begin(), sizes.end()}, index, false};
}

Operand Call::operand(const char* name) { return take<const float>(operands_, name, false); }
Operand Call::optional_operand(const char* name) {
  return take<const float>(operands_, name, true);
}
Result Call::result(const char* name) { return take<float>(results_, name, false); }
Result Call::optional_result(const char* name) { return take<float>(results_, name, true); }
Operand Call::operand_if(bool needed, const char* name) {
  return needed ? operand(name) : Operand{name, {}, 0, true};
}
Result Call::result_if(bool needed, const char* name) {
  return needed ? result(name) : Result{name, {}, 0, true};
}

size_t Call::operands_left() const {
  const size_t given = operands_.given.size(), taken = operands_.taken.size();
  return given > taken ? given - taken : 0;
}

template <typename T>
T Call::attribute(const char* plain) {
  const std::string name = plain + suffix_;
  size_t place = 0;
  for (const std::string_view other : attributes_) {
    if (other == name) break;
    ++place;
  }
  if (!check.that(place < taken_attributes_.size(), "the attribute ", name, " is missing"))
    return {};
  taken_attributes_[place] = true;
  const auto value = attributes_.get<T>(name);
  if (value.has_value()) return *value;
  check.that(false, "the attribute ", name, " has another type: ", value.error().message());
  return {};
}

int64_t Call::integer(const char* name) { return attribute<int64_t>(name); }
bool Call::flag(const char* name) { return attribute<bool>(name); }
Shape Call::integers(const char* name) {
  const auto values = attribute<ffi::Span<const int64_t>>(name);
  return {values.begin(), values.end()};
}

std::vector<float> Call::floats(const char* name) {
  const Shape bits = integers(name);
  std::vector<float> numbers(bits.size());
  for (size_t index = 0; index < bits.size(); ++index) {
    check.that(bits[index] >= 0 && bits[index] < (int64_t{1} << 32), name,
               " must be the bits of floats, got ", bits);
    const auto word = static_cast<uint32_t>(bits[index]);
    std::memcpy(&numbers[index], &word, sizeof(word));
  }
  return numbers;
}

void Call::check_all_taken(const char* what, const Buffers& buffers) {
  if (buffers.given.size() <= buffers.taken.size()) return;
  std::string names;
  for (const std::string& name : buffers.taken) names += (names.empty() ? "" : ", ") + name;
  check.that(false, "got ", static_cast<int64_t>(buffers.given.size()), what,
             ", expected no more than ", names);
}

bool Call::is_valid() {
  check_all_taken(" operands", operands_);
  check_all_taken(" results", results_);
  size_t place = 0;
  for (const std::string_view name : attributes_)
    if (!taken_attributes_[place++])
      check.that(false, "got the attribute ", std::string(name), ", which the call does not take");
  return check.passed();
}

ffi::Error Call::invalid() const {
  return ffi::Error::InvalidArgument("resfuse: " + check.complaint());
}

ConvCall bind_conv(Call& call, const Shape& x, const Shape& kernel) {
  const Geometry geometry{call.integers("strides"), call.integers("padding"),
                          call.integers("image_dilation"), call.integers("window_dilation"),
                          call.integer("groups")};
  const Choice choice = call.flag("winograd") ? call.settings.choice : Choice::kDirect;
  const Conv conv = make_conv(x, kernel, geometry, call.check);
  return {conv, choice, call.check.passed() ? output_shape(x.size(), conv) : Shape{}};
}

Weights bind_weights(Call& call, const Operand& kernel, const Conv& conv, bool is_packed) {
  PackedPlace place{kernel.shape};
  if (is_packed && kernel.shape.size() == 2)
    place = {kernel.shape, call.integer("row"), call.flag("has_numbers")};
  const Operand within{kernel.name, {conv.out_c}, kernel.place, false};
  Weights found{kernel, within, within, call.settings.isa};
  if (!place.has_numbers) found.scale = call.operand("scale"), found.shift = call.operand("shift");
  if (!is_packed) return found;
  found.isa = &find_isa(*found.isa, conv, place, call.check);
  if (!call.check.passed()) return found;
  const PackedRows rows = packed_rows(conv, found.isa->tile.nr);
  const auto at = [&](int64_t row) { return (place.row + row) * found.isa->tile.nr; };
  found.kernel.before = at(0);
  if (place.has_numbers)
    found.scale.before = at(rows.kernel), found.shift.before = at(rows.kernel + rows.numbers);
  return found;
}

}  // namespace resfuse
