// A cascade of convolutions in inference, whose weights came packed.

#include <deque>

#include "conv/run_cascade.h"
#include "ffi/call.h"
#include "ffi/epilogue.h"

namespace resfuse {
namespace {

constexpr int64_t kMaxParts = 3;

// What one call binds, part after part.
struct BoundCascade {
  std::vector<Conv> parts;
  std::vector<Operand> kernels;
  std::deque<BoundEpilogue> epilogues;
  const Isa* isa = nullptr;

  // Takes what belongs to the next part, which reads images of shape `x`; returns its output's.
  Shape add_part(Call& call, const Shape& x, const Result* y);
};

Shape BoundCascade::add_part(Call& call, const Shape& x, const Result* y) {
  const Operand kernel = call.operand("kernel");
  const auto [conv, choice, output] = bind_conv(call, x, call.integers("packed"));
  (void)choice;  // a part is direct in any case
  const Isa& reads = find_isa(conv, kernel.shape, call.check);
  call.check.that(!isa || isa == &reads, kernel.name, " is packed for ", std::string(reads.name),
                  ", the kernels before for ", std::string(isa ? isa->name : ""));
  isa = &reads;
  if (y) call.expect(*y, output);
  // Only the last part has results of the call's.
  const Result between{"y", output, nullptr, false};
  epilogues.push_back(
      bind_epilogue(call, conv, output, y ? *y : between, call.integer("operands")));
  call.check.that(y || epilogues.back().program.outputs == 1,
                  "only the last part may return more than y");
  parts.push_back(conv);
  kernels.push_back(kernel);
  return output;
}

// (x, the kernel, scale, shift and operands... of each part) -> (y, outputs...)
ffi::Error conv_cascade(Call& call) {
  const Operand x = call.operand("x");
  const Result y = call.result("y");
  const int64_t count = call.integer("parts");
  call.check.that(count >= 2 && count <= kMaxParts, "parts must be in [2, ", kMaxParts, "], got ",
                  count);
  BoundCascade bound;
  Shape shape = x.shape;
  for (int64_t part = 0; part < count && call.check.passed(); ++part) {
    call.enter_part(part);
    shape = bound.add_part(call, shape, part + 1 == count ? &y : nullptr);
  }
  if (!call.is_valid()) return call.invalid();
  const TileShape tile = bound.isa->tile;
  call.check.that(is_cascade(bound.parts), "these convolutions make no cascade");
  if (!call.is_valid()) return call.invalid();

  std::vector<Operands> operands;
  std::deque<Epilogue> epilogues;
  for (size_t part = 0; part < bound.parts.size(); ++part) {
    epilogues.push_back(bound.epilogues[part].epilogue());
    operands.push_back({x.data, bound.kernels[part].data, y.data, &epilogues.back()});
  }
  const Cascade cascade{bound.parts, operands,
                        plan_cascade(bound.parts, tile, machine_in_use(), call.max_threads())};
  return success_if(run(*bound.isa, cascade, call.max_threads(), call.schedule()), "scratch");
}

}  // namespace

std::vector<Handler> cascade_handlers() { return {{"conv_cascade", handle<conv_cascade>}}; }

}  // namespace resfuse
