#include "ffi/call.h"

#include <cstring>
#include <functional>
#include <numeric>
#include <sstream>
#include <string_view>
#include <utility>

namespace resfuse {
namespace {

Shape shape_of(const ffi::AnyBuffer& buffer) {
  const auto sizes = buffer.dimensions();
  return {sizes.begin(), sizes.end()};
}

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
  if (attributes_.contains("portion_images")) take_portion();
}

void Call::take_portion() {
  auto& given = operands_.given;
  const Portion portion{integer("portion_images"), flag("portion_reads"), flag("portion_writes")};
  if (!check.that(portion.images > 0, "portion_images must be positive, got ", portion.images) ||
      !check.that(given.size() >= size_t{2} + portion.writes && !results_.given.empty(),
                  "a portion needs an operand that says which, and another to be written into"))
    return;
  portion_ = portion;
  portion_.index = given.size() - 1;
  const ffi::AnyBuffer which = given.back();
  given.pop_back();
  check.that(which.element_type() == ffi::S32 && which.dimensions().size() == 0,
             "portion must be one number of S32, got ", to_text(which.element_type()), " of ",
             shape_of(which));
  if (!portion.writes) return;
  const Shape into = shape_of(given.back()), result = shape_of(results_.given.front());
  given.pop_back();
  check.that(into == result, "the portion is written into an array of ", into,
             ", expected the result's ", result);
}

// Leaves the images of a portion; returns their floats.
int64_t Call::cut(Shape& shape, const std::string& name) {
  const bool fits = !shape.empty() && shape[0] > 0 && shape[0] % portion_.images == 0;
  if (!check.that(fits, name, " has shape ", shape, ", expected a multiple of ", portion_.images,
                  " images"))
    return 0;
  const int64_t count = std::exchange(shape[0], portion_.images) / portion_.images;
  check.that(portion_.count == 0 || portion_.count == count, name, " has ", count,
             " portions, expected ", portion_.count);
  portion_.count = count;
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
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
  Shape shape = shape_of(buffer);
  const bool is_operand = &from == &operands_;
  if (index == 0 && (is_operand ? portion_.reads : portion_.writes))
    (is_operand ? portion_.read_floats : portion_.written_floats) = cut(shape, name);
  return {name, shape, index, false};
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
