// A cascade of convolutions in inference, whose weights came packed.

#include <optional>

#include "conv/run_cascade.h"
#include "ffi/epilogue.h"
#include "ffi/handler.h"

namespace resfuse {
namespace {

constexpr int64_t kMaxParts = 3;

// What a call binds, part after part.
struct BoundCascade {
  Operand x;
  Result y, row_sums;
  std::optional<PoolPlan> squeeze = {};
  std::vector<Conv> parts = {};
  std::vector<Operand> kernels = {};
  std::vector<BoundEpilogue> epilogues = {};
  const Isa* isa = nullptr;
  CascadePlan plan = {};
  std::vector<Jobs> apart = {};  // of each part, where the plan does not pay

  // Takes what belongs to the next part, which reads images of this shape; returns its output's.
  Shape add_part(Call& call, const Shape& images, bool is_last);
  void make_plans(const Settings& settings);
};

Shape BoundCascade::add_part(Call& call, const Shape& images, bool is_last) {
  const Operand kernel = call.operand("kernel");
  const auto [conv, choice, output] = bind_conv(call, images, call.integers("packed"));
  (void)choice;  // a part is direct in any case
  const Weights weights = bind_weights(call, kernel, conv, true);
  const Isa& reads = *weights.isa;
  call.check.that(!isa || isa == &reads, kernel.name, " is packed for ", std::string(reads.name),
                  ", the kernels before for ", std::string(isa ? isa->name : ""));
  isa = &reads;
  // Only the last part has results of the call's.
  const Result between{"y", output, 0, true};
  epilogues.push_back(
      bind_epilogue(call, conv, weights, output, is_last ? y : between, call.integer("operands")));
  call.check.that(is_last || epilogues.back().program.outputs == 1,
                  "only the last part may return more than y");
  parts.push_back(conv);
  kernels.push_back(weights.kernel);
  return output;
}

// What follows a squeeze are single pixels, of which there are no bands.
void BoundCascade::make_plans(const Settings& settings) {
  if (!squeeze) plan = plan_cascade(parts, isa->tile, *settings.machine, settings.threads);
  if (plan.pays) return;
  double work = 0.0;
  for (const Conv& conv : parts) work += work_of(conv);
  for (const Conv& conv : parts)
    apart.push_back(make_jobs(conv, false, isa->tile, *settings.machine,
                              {Choice::kDirect, true, false, settings.threads, Images::kPlain,
                               squeeze ? work - work_of(conv) : 0.0}));
}

// The sum over all pixels of each image.
Pool pool_of_images(const Shape& x, Check& check) {
  const Shape sides = x.size() == 4 ? Shape{x[1], x[2]} : Shape{};
  return make_pool(Reduction::kSum, x, sides, {{1, 1}, {0, 0, 0, 0}, {1, 1}, {1, 1}, 1}, check);
}

ffi::Error run_cascade(Execution& now, const BoundCascade& bound) {
  Epilogue epilogues[kMaxParts];
  Cascade cascade{bound.parts, bound.squeeze ? &*bound.squeeze : nullptr,
                  bound.plan,  bound.apart,
                  {},          now.max_threads()};
  cascade.operands.reserve(bound.parts.size());
  for (size_t part = 0; part < bound.parts.size(); ++part) {
    epilogues[part] = bound.epilogues[part].at(now);
    cascade.operands.push_back(
        {now.data(bound.x), now.data(bound.kernels[part]), now.data(bound.y), &epilogues[part]});
  }
  cascade.operands.back().row_sums = now.data(bound.row_sums);
  return success_if(run(*bound.isa, cascade, now.schedule()), "scratch");
}

// (x, the kernel, scale, shift and operands... of each part) -> (y, [row_sums], outputs...)
Bound conv_cascade(Call& call) {
  const bool squeezes = call.flag("squeeze"), sums_rows = call.flag("sums_rows");
  BoundCascade bound{call.operand("x"), call.result("y"), call.result_if(sums_rows, "row_sums")};
  const int64_t count = call.integer("parts"), least = squeezes ? 1 : 2;
  call.check.that(count >= least && count <= kMaxParts, "parts must be in [", least, ", ",
                  kMaxParts, "], got ", count);
  Shape shape = bound.x.shape;
  if (squeezes) {
    const Pool images = pool_of_images(shape, call.check);
    if (call.check.passed()) bound.squeeze = plan_pool(images);
    shape = {images.batch, 1, 1, images.channels};
  }
  for (int64_t part = 0; part < count && call.check.passed(); ++part) {
    call.enter_part(part);
    shape = bound.add_part(call, shape, part + 1 == count);
  }
  if (call.check.passed()) call.expect(bound.row_sums, {shape[0], shape[1], shape.back()});
  if (!call.is_valid() ||
      !call.check.that(is_cascade(bound.parts), "these convolutions make no cascade"))
    return {};
  bound.make_plans(call.settings);
  return [=](Execution& now) { return run_cascade(now, bound); };
}

}  // namespace

std::vector<Handler> cascade_handlers() { return {{"conv_cascade", execute<conv_cascade>}}; }

}  // namespace resfuse
