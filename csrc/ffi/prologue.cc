#include "ffi/prologue.h"

#include <algorithm>

namespace resfuse {
namespace {

// Takes a further part, which adds to the channels of all.
void bind_part(Call& call, BoundImages& bound) {
  const Operand part = call.operand("part");
  if (!call.check.that(!part.shape.empty(), "part has no channels")) return;
  Shape expected = bound.shape;
  expected.back() = part.shape.back();
  call.expect(part, expected);
  bound.parts.push_back(part);
  bound.shape.back() += part.shape.back();
}

// Takes scale and shift, of all channels or, the scale, of each image.
void bind_numbers(Call& call, BoundImages& bound) {
  const int64_t channels = bound.shape.back();
  if (bound.before >= Before::kScale) {
    bound.scale = call.operand("prologue_scale");
    const bool by_image = bound.scale.shape.size() == 2;
    call.expect(bound.scale, by_image ? Shape{bound.shape.front(), channels} : Shape{channels});
  }
  if (bound.before >= Before::kAffine) {
    bound.shift = call.operand("prologue_shift");
    call.expect(bound.shift, {channels});
  }
}

bool is_pixel(const Side& side) {
  return side.kernel == 1 && side.image_dilation == 1 && side.pad <= 0 &&
         (side.out - 1) * side.stride - side.pad < side.in;
}

}  // namespace

Images BoundImages::kind(const Conv& conv) const {
  if (!has_prologue || !is_pixelwise(conv)) return Images::kPlain;
  return before == Before::kScale && parts.size() == 1 ? Images::kScaled : Images::kTransformed;
}

Prologue BoundImages::at(const Execution& now) const {
  const int64_t image_scale = scale.shape.size() == 2 ? shape.back() : 0;
  Prologue prologue{before, 0, {}, now.data(scale), now.data(shift), image_scale};
  for (const Operand& part : parts)
    prologue.part[prologue.parts++] = {now.data(part), part.shape.back()};
  return prologue;
}

BoundImages bind_images(Call& call) {
  const Operand x = call.operand("x");
  const Shape numbers = call.integers("prologue");
  BoundImages bound{x.shape, {x}, !numbers.empty()};
  if (numbers.empty() || !call.check.passed()) return bound;
  const bool valid = numbers.size() == 2 && numbers[0] >= 1 && numbers[0] <= kMaxParts &&
                     numbers[1] >= 0 && numbers[1] <= static_cast<int64_t>(Before::kAffineRelu);
  call.check.that(valid, "prologue must be (parts, kind) with one to ", int64_t{kMaxParts},
                  " parts and a kind from 0 to 3, got ", numbers);
  call.check.that(!x.shape.empty(), "x has no channels");
  if (!call.check.passed()) return bound;
  bound.before = static_cast<Before>(numbers[1]);
  while (static_cast<int64_t>(bound.parts.size()) < numbers[0] && call.check.passed())
    bind_part(call, bound);
  if (call.check.passed()) bind_numbers(call, bound);
  return bound;
}

bool BoundImages::are_read_apart(const Jobs& jobs, TileShape tile) const {
  if (!has_prologue || is_pixelwise(jobs.conv)) return true;
  // Transforms work on whole vectors of channels.
  const bool vectors = std::all_of(parts.begin(), parts.end(), [&](const Operand& part) {
    return part.shape.back() % (tile.nr / 2) == 0;
  });
  return vectors &&
         std::all_of(jobs.phases.begin(), jobs.phases.end(), [](const PlannedPhase& phase) {
           return phase.plan.algorithm == Algorithm::kWinograd;
         });
}

bool is_pixelwise(const Conv& conv) {
  return is_pixel(conv.d) && is_pixel(conv.h) && is_pixel(conv.w);
}

void check_prologue(const BoundImages& images, const Conv& conv, Check& check) {
  const bool fits = !check.passed() || !images.has_prologue ||
                    (conv.groups == 1 && (images.before == Before::kCopy || is_pixelwise(conv)));
  check.that(fits,
             "a prologue takes windows of single pixels within the image, unless it only has "
             "parts, and no groups");
}

}  // namespace resfuse
