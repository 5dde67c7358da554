// Direct convolution of a unit, once, for any vector width; grouped convolution takes the same way,
// with panels of whole groups whose runs are taps (grouped.h).
//
//   for each block of pixels                                     (Direct::run)
//     for each panel of NR = 2 vectors of output channels
//       for each tile of up to MR pixels                         (DirectPanel::run)
//         for each pass over the window                          (point: MR pointers a run)
//           for each run, for each k in it                       (Tile: MR x NR in registers)
//             acc[m][:] += in[m][k] * panel[k][:]
//         out = E(scale * acc + shift)                           (the only store of the output)
//
// README.md in the folder above draws it and counts the registers.

#pragma once

#include "conv/direct_panel.h"
#include "conv/rows.h"

namespace resfuse {
namespace {

class Direct {
 public:
  Direct(const Job& job, Memory& memory, const Unit& unit)
      : job_(job),
        memory_(memory),
        unit_(unit),
        packed_(pack_unit(job, memory, unit)),
        scratch_(lay_out(job.plan, memory.bytes)),
        windows_(job, scratch_.work) {}

  void run() {
    for (int64_t block = unit_.first_block; block < unit_.last_block; ++block) run_block(block);
  }

 private:
  void run_block(int64_t block) {
    const int64_t begin = block * job_.plan.blocks.size;
    const int64_t end = smaller(begin + job_.plan.blocks.size, job_.conv.pixels());
    const bool is_new = replace(memory_.prepared_block, block);
    if (is_new) windows_.prepare(begin, end);
    if (job_.plan.direct.inputs == Inputs::kRows)
      return DepthwiseRows(job_, scratch_, windows_, unit_, packed_).run(block, begin, end);
    if (!job_.plan.scales_weights) return run_panels(packed_, is_new, block, begin, end);
    const int64_t image_pixels = job_.conv.pixels() / job_.conv.batch;
    for (int64_t first = begin, next; first < end; first = next) {
      const int64_t image = first / image_pixels;
      next = smaller(end, (image + 1) * image_pixels);
      run_panels(scaled_weights(image), is_new, block, first, next);
    }
  }

  // The panels of a unit, which are packed side by side, on some pixels of a block.
  void run_panels(const float* packed, bool is_new, int64_t block, int64_t begin, int64_t end) {
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      const Turn turn{is_new && panel == unit_.first_panel, next_of(packed, panel)};
      const Panel span = panel_at(job_.conv, job_.plan.layout, panel);
      DirectPanel on_block(job_, scratch_, windows_, span, weights_of(packed, panel), turn);
      if (job_.operands.sums) clear_sums(span, scratch_.sums);
      on_block.run(begin, end);
      if (job_.operands.sums) on_block.write_sums(block);
    }
  }

  // The weights after this panel's, or null: this thread reads them next, for the unit that it
  // probably takes next is the one beside this.
  const float* next_of(const float* packed, int64_t panel) const {
    const Plan& plan = job_.plan;
    const int64_t last = plan.copies_weights() ? unit_.last_panel : plan.layout.panels;
    return panel + 1 < last ? weights_of(packed, panel + 1) : nullptr;
  }

  const float* weights_of(const float* packed, int64_t panel) const {
    return packed + (panel - unit_.first_panel) * job_.plan.layout.panel_stride();
  }

  // The unit's weights, those of each input times its scale in an image: the products are those of
  // the scaled image. They stay in the scratch while units go through the same image and panels.
  const float* scaled_weights(int64_t image) {
    const Prologue& prologue = *job_.operands.prologue;
    const float* const scale = prologue.scale + image * prologue.image_scale;
    const int64_t others = prologue.image_scale > 0 ? image * job_.plan.layout.panels : 0;
    if (!replace(memory_.scaled_panel, others + unit_.first_panel)) return scratch_.packed;
    const float* from = packed_;
    float* to = scratch_.packed;
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel)
      for (int64_t c = 0; c < job_.conv.in_c; ++c, from += kNR, to += kNR)
        for (int64_t n = 0; n < kNR; n += kLanes) store(to + n, load(from + n) * splat(scale[c]));
    return scratch_.packed;
  }

  const Job& job_;
  Memory& memory_;
  const Unit unit_;
  const float* const packed_;
  Scratch& scratch_;
  BlockWindows windows_;
};

}  // namespace
}  // namespace resfuse
