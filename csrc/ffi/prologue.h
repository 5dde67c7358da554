// The images of a call, and what comes before its convolution: from attributes and operands, as a
// program states them, to a Prologue.

#pragma once

#include "conv/jobs.h"
#include "ffi/execution.h"

namespace resfuse {

struct BoundImages {
  Shape shape;  // of all parts side by side
  std::vector<Operand> parts;
  bool has_prologue = false;
  Before before = Before::kCopy;
  Operand scale{"", {}, 0, true}, shift{"", {}, 0, true};

  // As a plan for the convolution sees them.
  Images kind(const Conv& conv) const;
  // Without a prologue, of one part.
  Prologue at(const Execution& now) const;
  // Whether the algorithms of these jobs read the parts where they are; else they are joined first.
  bool are_read_apart(const Jobs& jobs, TileShape tile) const;
};

// Takes the images, all parts and the prologue's scale and shift, as far as there are any. The
// attribute `prologue` is empty if there is none, or two numbers: of the parts, and of a Before.
// What it returns is meaningless unless the call is valid.
BoundImages bind_images(Call& call);

// Whether all windows are single pixels of the image.
bool is_pixelwise(const Conv& conv);
// Complains where there is a prologue of more than parts, and windows are more than such pixels.
void check_prologue(const BoundImages& images, const Conv& conv, Check& check);

}  // namespace resfuse
