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
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      const Turn turn{is_new && panel == unit_.first_panel, next_of(panel)};
      const Panel span = panel_at(job_.conv, job_.plan.layout, panel);
      DirectPanel on_block(job_, scratch_, windows_, span, weights_of(panel), turn);
      if (job_.operands.sums) clear_sums(span, scratch_.sums);
      on_block.run(begin, end);
      if (job_.operands.sums) on_block.write_sums(block);
    }
  }

  // The weights after this panel's, or null: this thread reads them next, for the unit that it
  // probably takes next is the one beside this.
  const float* next_of(int64_t panel) const {
    const Plan& plan = job_.plan;
    const int64_t last = plan.packing == Packing::kUnit ? unit_.last_panel : plan.layout.panels;
    return panel + 1 < last ? weights_of(panel + 1) : nullptr;
  }

  const float* weights_of(int64_t panel) const {
    return packed_ + (panel - unit_.first_panel) * job_.plan.layout.panel_stride();
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
